"""``exporter.yaml`` to frozen settings; every fault at once, with its position."""

from exporter.config.loader import load, loads, refuse_restart_only

__all__ = ["load", "loads", "refuse_restart_only"]
