"""The past as samples with instants: from the ledger's buckets to a file or a remote-write receiver."""
