"""What a search can be told, and which of it may change when it is resumed."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from astmoa.engine.confirmation import Confirmation
from astmoa.errors import ConfigError, RunError
from astmoa.provenance import redact
from astmoa.records import own_runs
from astmoa.records.journal import FORMAT, Journal
from astmoa.search.searcher import Search
from astmoa.study.options import StudyOptions
from astmoa.study.resume import check_unchanged, plain, stored_options, tracker
from astmoa.study.search_options import SearchOptions
from astmoa.tracking import default_uri
from tests.helpers.synthetic import SHAPE, SPACE, curves, run
from tests.helpers.tiny import make_inputs


@dataclass(frozen=True)
class OtherOptions(StudyOptions):
    num_points: int = 20


def journal(folder, options, study="frontier", **changes):
    """A run folder as `options` would begin it."""
    writer = Journal(folder)
    writer.append("sweep", format=FORMAT, study=study, sweep_id="x", options=plain(options) | changes)
    writer.close()
    return folder


OPTIONS = SearchOptions(data="csv", data_root="sounds", epochs=2, max_trials=4, confirm="seeds=1", folds=(2,))


def test_options_come_back_as_they_were(tmp_path):
    folder = journal(tmp_path / "run", OPTIONS)
    assert stored_options("frontier", SearchOptions, folder) == dataclasses.replace(OPTIONS, out=folder, resume=folder)


def test_what_was_left_to_a_default_is_what_the_default_was(tmp_path):
    """A later version may have other defaults: it goes on with those that the journal names."""
    folder = tmp_path / "run"
    writer = Journal(folder)
    search = {"margin": 0.5, "grace_period": 2, "num_startup": 8, "sampler": "nsga2"}
    writer.append("sweep", format=FORMAT, study="frontier", sweep_id="x", options=plain(OPTIONS), search=search)
    writer.close()
    stored = stored_options("frontier", SearchOptions, folder)
    assert (stored.margin, stored.grace_period, stored.num_startup) == (0.5, 2, 8)
    assert (stored.sampler, stored.max_trials) == ("nsga2", OPTIONS.max_trials)
    assert {key: stored.described(SPACE)[key] for key in ("margin", "num_startup")} == {"margin": 0.5, "num_startup": 8}


def test_a_quick_search_searches():
    """It leaves room for a model's proposals, and for a milestone."""
    quick = SearchOptions(quick=True)
    assert quick.described(SPACE)["num_startup"] < quick.budget().max_trials / 2
    assert quick.described(SPACE)["grace_period"] < quick.template().optim.epochs
    assert SearchOptions(quick=True, epochs=1).template().optim.epochs == 1  # what is told is told


def test_those_of_the_last_run_hold(tmp_path):
    folder = journal(tmp_path / "run", OPTIONS)
    writer = Journal(folder)
    writer.append("resume", study="frontier", options=plain(dataclasses.replace(OPTIONS, max_trials=9)))
    writer.close()
    assert stored_options("frontier", SearchOptions, folder).max_trials == 9


def test_a_password_that_was_kept_out_of_the_journal_is_not_an_address(tmp_path):
    folder = journal(tmp_path / "run", OPTIONS, tracking_uri="http://me:***@host", storage="s3://***@bucket/x")
    stored = stored_options("frontier", SearchOptions, folder)
    assert (stored.tracking_uri, stored.storage) == (None, None)


SERVER, WITH_PASSWORD = "http://host:5000", "http://me:hush@host:5000"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A run folder whose run had this tracker; by this user, where it was noted."""
    monkeypatch.setenv("ASTMOA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def start(uri, noted=True):
        writer = Journal(tmp_path / "runs" / "run")
        writer.append("sweep", format=FORMAT, study="frontier", sweep_id="x", options={}, tracker=redact(uri))
        writer.close()
        if noted:
            own_runs.note("x", tracking_uri=uri)
        return tmp_path / "runs" / "run"

    return start


def test_a_run_goes_on_in_the_tracker_that_it_had(started, monkeypatch, tmp_path):
    """Also where that came from the environment, which has none or another one now: then it says so."""
    folder = started(SERVER)
    assert tracker(folder, None) == (SERVER, None)
    assert tracker(folder, "http://other") == ("http://other", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    assert tracker(folder, None) == (SERVER, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@new:5000")
    uri, line = tracker(folder, None)
    assert uri == SERVER
    assert f"goes on in {SERVER}, as before" in line
    assert "secret" not in line
    assert tracker(tmp_path / "new", None) == ("http://me:secret@new:5000", None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracker(tmp_path / "new", None) == (default_uri(tmp_path / "new"), None)


def test_a_password_that_is_kept_nowhere_is_asked_for(started, monkeypatch):
    folder = started(WITH_PASSWORD)
    uri, line = tracker(folder, None)
    assert uri == default_uri(folder)
    assert f"was http://***@host:5000: its password is kept nowhere; its runs go to {uri} now" in line
    assert "--tracking-uri" in line
    assert "\n" not in line
    monkeypatch.setenv("MLFLOW_TRACKING_URI", WITH_PASSWORD)
    assert tracker(folder, None) == (WITH_PASSWORD, None)


def test_a_strangers_tracker_is_not_followed(started, tmp_path):
    folder = started(SERVER, noted=False)
    uri, line = tracker(folder, None)
    assert uri == default_uri(folder)
    assert f"{SERVER}: this user has not given it on this machine" in line
    own_runs.note("x", tracking_uri="http://elsewhere")
    assert tracker(folder, None)[0] == default_uri(folder)
    outside = tmp_path / "precious.db"
    folder = started(f"sqlite:///{outside}", noted=False)
    assert tracker(folder, None)[0] == default_uri(folder)


def test_a_moved_folder_keeps_its_tracker_as_long_as_that_is_there(started, tmp_path):
    folder = started(default_uri(tmp_path / "runs" / "run"))
    assert tracker(folder, None) == (default_uri(folder), None)  # the first time, it is not there yet
    (tmp_path / "runs" / "mlflow.db").touch()
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    folder.rename(moved)
    assert tracker(moved, None) == (default_uri(folder), None)
    (tmp_path / "runs" / "mlflow.db").rename(moved.parent / "mlflow.db")
    uri, line = tracker(moved, None)
    assert uri == default_uri(moved)
    assert "it is not there any more" in line


def test_a_journal_of_before_names_its_tracker_among_its_options(started, tmp_path):
    folder = journal(tmp_path / "old", OPTIONS, tracking_uri=SERVER)
    assert "this user has not given it" in tracker(folder, None)[1]
    own_runs.note("x", tracking_uri=SERVER)
    assert tracker(folder, None) == (SERVER, None)


def test_options_of_another_version_are_refused_by_name(tmp_path):
    folder = journal(tmp_path / "run", OPTIONS, depth=3)
    with pytest.raises(RunError, match=r"another version's .*depth"):
        stored_options("frontier", SearchOptions, folder)


def test_another_study_names_itself(tmp_path):
    folder = journal(tmp_path / "run", OtherOptions(), study="random_search")
    with pytest.raises(RunError, match=r"a run of random_search, and this is frontier"):
        stored_options("frontier", SearchOptions, folder)


@pytest.mark.parametrize(
    "change",
    [
        {"max_trials": 200},
        {"max_hours": 1.0, "max_trials": None},
        {"confirm": "seeds=5"},
        {"trials_at_once": 1},
        {"tracking_uri": "http://host"},
        {"data_root": "moved"},
    ],
)
def test_bounds_replicates_and_places_may_change(change):
    changed = dataclasses.replace(OPTIONS, **change)
    assert plain(changed) != plain(OPTIONS)  # there is something to allow
    assert check_unchanged(OPTIONS, changed) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 3}, "--epochs 2 there, 3 now"),
        ({"sampler": "gp"}, "--sampler None there, gp now"),
        ({"grace_period": 2}, "--grace-period None there, 2 now"),
        ({"search_seed": 1, "max_params": 10}, "--max-params None there, 10 now, --search-seed 0 there, 1 now"),
        ({"data": "folder"}, "--data csv there, folder now"),
        ({"lr": 0.1}, "--lr None there, 0.1 now"),
    ],
)
def test_what_decides_results_may_not(change, words):
    with pytest.raises(RunError, match=words):
        check_unchanged(OPTIONS, dataclasses.replace(OPTIONS, **change))


def test_what_may_change_are_options():
    """A new option may not, until somebody has thought about it."""
    from astmoa.study.resume import _MAY_CHANGE

    assert {field.name for field in dataclasses.fields(SearchOptions)} >= _MAY_CHANGE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": 2}, ["--seeds 2", "--confirm seeds=N"]),
        ({"seeds": 0}, ["--seeds 0"]),
        ({"folds": (1, 2)}, ["--folds [1, 2]", "name one"]),
        ({"cross_validate": True}, ["--cross-validate", "--confirm"]),
        ({"search_seed": -1}, ["--search-seed -1", "at least 0"]),
        ({"max_trials": 0}, ["--max-trials 0", "at least 1"]),
        ({"max_hours": 0.0}, ["--max-hours 0", "above 0"]),
        ({"max_device_hours": float("nan")}, ["--max-device-hours nan"]),
        ({"patience": 0}, ["--patience 0"]),
        ({"min_growth": -1.0}, ["--min-growth -1"]),
        ({"max_failures": 0}, ["--max-failures 0"]),
        ({"confirm": "five"}, ["--confirm five", "seeds=5"]),
        ({"confirm": "seeds=0"}, ["--confirm seeds=0"]),
        ({"confirm": "folds=2"}, ["--confirm folds=2", "seeds=5"]),
        ({"confirm": "seeds=1,trials=0"}, ["trials=0"]),
        ({"confirm": "seeds=1,rounds=3"}, ["rounds=3"]),
    ],
)
def test_impossible_options_are_one_line(change, words):
    with pytest.raises((ConfigError, RunError)) as caught:
        SearchOptions(**change)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampler": "cmaes"}, ["sampler", "cmaes", "nsga2", "tpe", "gp", "random"]),
        ({"scheduler": "median"}, ["scheduler", "median", "pareto_asha", "hyperband", "none"]),
        ({"tell_stopped": "loudly"}, ["tell_stopped", "loudly", "predicted", "truncated"]),
        ({"max_params": 10, "data": "csv"}, ["max_params=10", "smallest"]),
        ({"grace_period": 50, "epochs": 2}, ["grace_period", "50", "2"]),
        ({"reduction_factor": 1}, ["reduction_factor", "at least 2"]),
        ({"margin": -0.5}, ["margin"]),
        ({"lr": 0.1}, ["--lr 0.1", "leave --lr out"]),
    ],
)
def test_names_and_spaces_are_checked_before_sounds_are_read(change, words):
    space = type(SPACE)([branch for branch in SPACE.branches if branch["name"] != "linear"])
    with pytest.raises(ConfigError) as caught:
        SearchOptions(**change).parts(space, SHAPE)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_bound_is_always_there():
    assert SearchOptions().budget().max_trials == 40
    assert SearchOptions(quick=True).budget().max_trials == 12
    assert SearchOptions(max_hours=2.0).budget().max_trials is None


def test_what_is_described_is_what_the_parts_are_made_of():
    options = SearchOptions(epochs=8, step_time=True, max_params=5000)
    described, parts = options.described(SPACE), options.parts(SPACE, SHAPE)
    assert type(SPACE).from_json(described["space"]) == SPACE
    assert described["objectives"] == ["params", "accuracy", "step_time"]
    assert described["max_params"] == 5000
    assert described["grace_period"] == 2
    assert isinstance(parts["proposer"], Search)
    first = parts["proposer"].next()
    assert SPACE.size(first.ask["candidate"], SHAPE) <= 5000
    assert first.config.optim.epochs == 8


def confirmed(text, folds=(1,), trials=12):
    """The search of 12 trials on made-up curves, and what `--confirm` makes of it."""
    from astmoa.engine.budgets import Budget

    driven = run(2, curves(), scheduler=None, budget=Budget(max_trials=trials))
    inputs = make_inputs()
    inputs = dataclasses.replace(inputs, splits={fold: inputs.splits[1] for fold in folds})
    return driven, Confirmation.parse(text).of(inputs.num_val_clips, True, ("params", "accuracy"))(driven.ledger)


def test_confirmation_takes_the_front_with_other_seeds_in_all_folds():
    driven, proposals = confirmed("seeds=2", folds=(1, 2, 3))
    assert {p.phase for p in proposals} == {"confirm"}
    wanted = {(seed, fold) for seed in (1, 2) for fold in (1, 2, 3)}
    by_point: dict[str, set] = {}
    for proposal in proposals:
        by_point.setdefault(proposal.config.point(), set()).add((proposal.config.seed, proposal.config.data.fold))
    assert all(found == wanted for found in by_point.values())
    assert by_point.keys() >= {trial.proposal.config.point() for trial in driven.ledger.front()}
    assert len({p.trial_id for p in proposals}) == len(proposals)
    assert not {p.trial_id for p in proposals} & driven.ledger.trials.keys()


def test_confirmation_can_be_bounded_and_kept_to_one_fold():
    _, every = confirmed("seeds=2", folds=(1, 2))
    _, few = confirmed("seeds=2,trials=3", folds=(1, 2))
    assert [p.trial_id for p in few] == [p.trial_id for p in every[:3]]
    _, one_fold = confirmed("seeds=2,folds=2", folds=(1, 2))
    assert {p.config.data.fold for p in one_fold} == {2}


def test_nothing_completed_is_nothing_to_confirm():
    from tests.helpers.synthetic import driver

    assert Confirmation.parse("seeds=2").of({1: 9}, True, ("params", "accuracy"))(driver().ledger) == []


def test_paths_are_plain_in_the_journal():
    options = plain(SearchOptions(out=Path("a") / "b", resume=Path("s3://key:hush@bucket/run")))
    assert options["out"] == "a/b"
    assert "hush" not in str(options)
