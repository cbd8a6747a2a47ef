"""chatbot-exporter: exact Prometheus counters from chatbot analytics APIs."""

__version__ = "0.1.0"
