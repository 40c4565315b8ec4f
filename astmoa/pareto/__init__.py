"""The frontier of accuracy against parameters, and how far it can be trusted: numpy and scipy alone."""
