"""`astmoa ...`: one file per command or group of commands; each parses, calls the Python interface and prints."""
