"""Dashboards and rules as code: ``python -m dashboards.source`` writes every generated file."""
