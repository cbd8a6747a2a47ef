"""Flow XO: messages, triggers and users of an account by hour."""
