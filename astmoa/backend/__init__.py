"""Where trials run: Ray Tune, its workers, their machines. The only room that imports ray."""

import os

# Before ray is imported: one display (ours), no per-trial CSV, JSON and TensorBoard files (half of the driver's time),
# no usage reports, and Ray's coming behaviour for machines without a GPU instead of a warning about it.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Workers use the jemalloc that Ray's package brings: glibc's heap fragments to twice what a trial holds
# (benchmarks/peak_memory.py).
os.environ.setdefault("RAY_LD_PRELOAD_ON_WORKERS", "1")
os.environ.setdefault("MALLOC_CONF", "oversize_threshold:0,dirty_decay_ms:60000")
