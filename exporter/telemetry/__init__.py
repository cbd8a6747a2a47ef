"""The exporter's own counters and process metrics."""
