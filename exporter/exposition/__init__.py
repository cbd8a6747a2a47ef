"""What is served on /metrics: publisher, pages, blocks, gzip, self metrics, catalogue."""
