"""Dashboards and rules for the exporter's metrics, and the source that they are written from."""
