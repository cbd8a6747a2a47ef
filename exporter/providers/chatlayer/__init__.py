"""Sinch Chatlayer: tracking events of bots, and the aggregates of the same API."""
