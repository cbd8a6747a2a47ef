"""``exporter.yaml`` to frozen settings; reports all errors at once, with positions."""

from exporter.config.loader import load, loads, problem_at

__all__ = ["load", "loads", "problem_at"]
