import statistics

import optuna


def tpe_soon(seed):
    """One of Optuna's samplers, fresh every time: nothing may live outside of the history"""
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=4)


class BelowTheMedian:
    """Stops who is below the median of all that came so far, in the middle of its epochs"""

    def __init__(self, max_epochs):
        self.middle, self.seen, self.stopped = max(1, max_epochs // 2), {}, {}

    def report(self, trial_id, epoch, costs, errors):
        if epoch == self.middle and trial_id not in self.seen:
            self.seen[trial_id] = costs[1]
            if costs[1] > statistics.median(self.seen.values()):
                self.stopped[trial_id] = epoch
        return self.stopped.get(trial_id)
