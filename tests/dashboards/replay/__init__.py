"""How good are the alerts: made-up bots, the real counting code, the real rules, a score."""
