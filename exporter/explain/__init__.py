"""Explains why a series has its value: selector, reader, comparison with the vendor."""
