"""Calls to vendors: deadlines, retries, pacing, redaction, and the transport."""
