"""``exporter.yaml`` to frozen settings; every fault at once, with its position."""

from exporter.config.loader import load, loads

__all__ = ["load", "loads"]
