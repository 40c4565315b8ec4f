"""The frozen Audio Spectrogram Transformer: loaded, resized, fitted to a clip's length, and written down."""
