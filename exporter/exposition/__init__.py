"""Everything behind /metrics: publisher, pages, blocks, gzip, self metrics, catalogue."""
