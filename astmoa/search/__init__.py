"""What to try and when to stop: spaces, samplers, models of curves, early stopping. The only room with optuna."""
