"""Studies: one folder for each question that a report answers beside the frontier."""
