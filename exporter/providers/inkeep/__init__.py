"""Inkeep: events, conversations and feedback of a project by hour and integration."""
