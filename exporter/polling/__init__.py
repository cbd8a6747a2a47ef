"""Decides when each query is polled, and carries out polls."""
