"""``exporter.yaml`` to frozen settings; every fault at once, with its position."""
