"""Fake vendors whose APIs are read by the manifests that the exporter ships."""
