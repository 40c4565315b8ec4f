"""What brings machines up: run as it stands, or held against the schema of who reads it."""
