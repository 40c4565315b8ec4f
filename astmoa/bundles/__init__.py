"""A point of the frontier as a folder that reloads and predicts: written, read as data, loaded."""
