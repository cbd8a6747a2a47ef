"""What tests share: virtual time, builders, scripted providers."""
