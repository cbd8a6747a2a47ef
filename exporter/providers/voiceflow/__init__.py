"""Voiceflow: usage of projects by hour, environment and type."""
