"""Turns ``exporter.yaml`` into frozen settings; reports all errors with their positions."""

from exporter.config.loader import load, loads, refuse_restart_only

__all__ = ["load", "loads", "refuse_restart_only"]
