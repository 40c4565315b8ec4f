"""The engine over recorded curves, on a virtual clock."""
