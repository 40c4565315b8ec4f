"""What a sweep did, read back from its journal: trials, and points (one configuration over its seeds and folds).

Only completed trials have accuracies here. A stopped trial's last value is a truncated one, and a failed trial has
none: both are None, so that neither can slip into a mean.
"""
