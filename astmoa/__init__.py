"""Sweeps over mixtures of adapters in a frozen Audio Spectrogram Transformer, on Ray Tune and MLflow."""
