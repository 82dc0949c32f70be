"""Contract tests: one body over every row of the catalogue."""
