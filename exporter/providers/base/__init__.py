"""The plugin interface and the helpers that providers share."""
