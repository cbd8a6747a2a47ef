"""The vocabulary: samples, series, windows, families, query specs."""
