"""Sound to features: data sets, decoding, log-mel pictures, the feature store and masking on the device."""
