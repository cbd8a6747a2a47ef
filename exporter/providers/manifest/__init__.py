"""Any HTTP JSON API, read as a manifest describes it (docs/manifests.md)."""
