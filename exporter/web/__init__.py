"""What is served over HTTP: metrics, health, reload, the status page; TLS and passwords."""
