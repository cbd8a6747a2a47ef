"""Why a series has its value: selector, reader, answer."""
