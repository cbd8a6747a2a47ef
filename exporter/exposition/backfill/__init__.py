"""Writes the past as timestamped samples, from the ledger to a file or a remote-write receiver."""
