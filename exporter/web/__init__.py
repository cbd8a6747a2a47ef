"""The HTTP server: metrics, health, reload, the status page; TLS and passwords."""
