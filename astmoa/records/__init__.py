"""What a sweep did, read back from its journal: trials, and points (one configuration over its seeds and folds).

Only completed trials have accuracies here. A stopped trial's last value is a truncated one, and a failed trial has
none: both are None, so that neither can slip into a mean.
"""

from astmoa.records.progress import TraceRow, hypervolume_trace
from astmoa.records.reading import (
    Event,
    events_by_trial,
    flatten,
    load_sweep,
    sweep_header,
    sweep_record,
    trial_record,
)
from astmoa.records.spread import Interval, Spread, clip_interval
from astmoa.records.standing import Score, Standing, front_probabilities, places, standing, step_time_front
from astmoa.records.sweep import SweepRecord, is_confirmed, judged, metric_of, outdates
from astmoa.records.trials import STATES, Phase, PointRecord, State, TrialRecord, end_interval

__all__ = [
    "STATES",
    "Event",
    "Interval",
    "Phase",
    "PointRecord",
    "Score",
    "Spread",
    "Standing",
    "State",
    "SweepRecord",
    "TraceRow",
    "TrialRecord",
    "clip_interval",
    "end_interval",
    "events_by_trial",
    "flatten",
    "front_probabilities",
    "hypervolume_trace",
    "is_confirmed",
    "judged",
    "load_sweep",
    "metric_of",
    "outdates",
    "places",
    "standing",
    "step_time_front",
    "sweep_header",
    "sweep_record",
    "trial_record",
]
