"""The persistent record of readings and counts, so that no restart loses or doubles a unit."""
