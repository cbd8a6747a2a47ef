"""Expected engagement, pure: hours of one bot in, expectation and scores out."""
