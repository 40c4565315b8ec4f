"""The rooms of the package."""

# Rooms from the bottom up, as docs/architecture.md draws them: a file imports its own room and those that stand lower.
FLOORS = [
    ["errors", "provenance"],
    ["files"],
    ["methods", "audio", "pareto"],
    ["config"],
    ["records"],
    ["backbone", "report", "tracking"],
    ["training", "engine"],
    ["search", "bundles"],
    ["backend", "replay"],
    ["study"],
    ["cli"],
]
