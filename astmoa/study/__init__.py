"""From options to a run folder: what sweeps/*.py, the command line and `import astmoa` call."""
