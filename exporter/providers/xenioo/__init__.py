"""Xenioo: statistics of an account's bots by hour and channel, in one call per hour."""
