"""What was read and what was counted, kept so that no restart loses or doubles a unit."""
