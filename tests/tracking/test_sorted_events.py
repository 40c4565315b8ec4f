"""What MLflow's tags are made of while a journal grows, against the records of the same events read at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astmoa.records.load import sweep_record
from astmoa.records.standing import standing
from astmoa.tracking.sorted_events import Progress
from tests.helpers.journals import confirming, search_events, searched


@pytest.mark.slow
@given(count=st.integers(2, 12), seeds=st.integers(1, 2), size=st.integers(1, 9), named=st.booleans())
def test_standings_are_those_of_the_records(count, seeds, size, named):
    """After every piece of a search with a confirmation, finished or not. `named`: the journal says which points are to
    be confirmed; before each has a fresh replicate, the front is the search's."""
    trials = searched(count)
    done = [trial for trial in trials if trial.state == "completed"][:3]
    events = search_events([*trials, *confirming(done, seeds)])
    first = next((i for i, event in enumerate(events) if event.get("phase") == "confirm"), len(events))
    if named:
        points = list(dict.fromkeys(event["point"] for event in events if event.get("phase") == "confirm"))
        events.insert(first, {"type": "confirm", "time": events[first - 1]["time"], "points": points, "num_trials": 1})
    progress = Progress(events[0], "journal")
    for end in [*range(1, len(events), size), len(events)]:
        progress.add(events[progress.num_events : end])
        sweep = sweep_record(events[:end])
        places = standing(sweep)
        expected = {
            trial.trial_id: places.get(trial.point, trial.state) if trial.state == "completed" else trial.state
            for trial in sweep.trials
            if trial.trial_id in progress.started
        }
        assert {trial_id: progress.standings[trial_id] for trial_id in expected} == expected


@pytest.mark.parametrize("replicates", [1, 2])
def test_a_front_is_not_made_of_the_few_that_are_confirmed_so_far(replicates):
    """Of two chosen points the first has its fresh replicate: only with the second one's the front is theirs."""
    trials = searched(12)
    front = [
        trial for trial in trials if standing(sweep_record(search_events(trials))).get(trial.config.point()) == "front"
    ]
    chosen, found = front[:2], {trial.trial_id for trial in front}
    assert len(front) > 2
    events = search_events([*trials, *confirming(chosen, seeds=1)[:replicates]])
    points = [trial.config.point() for trial in chosen]
    events.insert(-1, {"type": "confirm", "time": events[-1]["time"], "points": points, "num_trials": 2})
    progress = Progress(events[0], "journal")
    progress.add(events)
    on_front = {trial_id for trial_id, place in progress.standings.items() if place == "front"} & found
    if replicates == 1:
        assert on_front == found
    else:
        assert on_front <= {trial.trial_id for trial in chosen}
