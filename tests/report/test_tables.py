import io
import json
import re

import pytest
from rich.console import Console

from astmoa.records.load import sweep_record
from astmoa.report.pictures import frontier_picture
from astmoa.report.summary import marked_points, summary
from astmoa.report.tables import markdown_table, rich_table, write_tables
from tests.helpers.journals import Trial, config, every_state, search_events, sweep_events
from tests.helpers.pictures import cells, drawn

PAIRS = ((2, 14), (4, 6), (6, 4), (8, 3), (12, 2), (24, 1))


@pytest.fixture
def sweep():
    return sweep_record(sweep_events(every_state()))


def test_a_folder_that_is_not_there_is_named_as_it_was_given(sweep, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_tables(sweep, tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none" / "table.md")


def test_markdown(sweep):
    text = markdown_table(sweep)
    head, rule, *rows = cells(text)
    assert head == ["N/p", "bottleneck", "params", "with head", "val acc %", "test acc %", "seeds", "core-s", ""]
    assert set(rule) <= {"---", "---:"}
    assert rows == [
        ["1/1", "2", "9,500", "10,000", "65.0 [1.5, 100.0]", "60.0 [0.0, 100.0]", "2", "4.0", "front, best"],
        ["2/1", "2", "19,500", "20,000", "–", "–", "0 of 2", "–", ""],
        ["4/1", "2", "39,500", "40,000", "–", "–", "0 of 2", "–", ""],
    ]
    assert "- failed: t2 (2/1, seed 0, fold 1): loss is not finite in epoch 4\n" in text
    assert "n_vs_p: data builtin; backbone tiny; method soft_moa;" in text
    assert "trials: 2 paused, 1 stopped, 2 completed, 1 failed" in text
    assert "1 unreadable clip left out" in text


def test_stopped_trials_never_show_an_accuracy(sweep):
    assert "90" not in markdown_table(sweep)  # t3 was stopped at 0.9


def caption(*trials, **changes):
    return markdown_table(sweep_record(sweep_events(trials, **changes))).split("\n\n")[1]


def test_the_caption_says_what_the_interval_is():
    def seeds(count, **changes):
        return [Trial(f"t{i}", config(seed=i), accuracy=0.5 + i / 10, **changes) for i in range(count)]

    assert "95 % interval: bootstrap over clips;" in caption(*seeds(1))
    assert "one replicate: no interval;" in caption(*seeds(1, clips=None))
    two = caption(*seeds(2))
    assert "95 % interval: Student's t over 2 seeds; two replicates hardly bound anything: raise --seeds;" in two
    assert "95 % interval: Student's t over 3 seeds; params" in caption(*seeds(3))
    assert "interval" not in caption(*seeds(1, state="failed"))
    folds = [Trial(f"f{i}", config(2, fold=i + 1), accuracy=0.5 + i / 10) for i in range(5)]
    assert "95 % interval: Student's t over 5 folds; params" in caption(*folds)
    again = [Trial(f"g{i}", config(2, fold=i + 1, seed=1), accuracy=0.6 + i / 10) for i in range(4)]
    assert "Student's t over 5 folds (each the mean of 1 to 2 seeds); params" in caption(*folds, *again)
    assert "Student's t over 4 folds (each the mean of 2 seeds); params" in caption(*folds[:4], *again)
    more = "over 2 folds; two replicates hardly bound anything: name more --folds; params"
    assert more in caption(*folds[:2])
    mixed = caption(*folds, *seeds(2), Trial("x", config(4)))
    assert (
        "Student's t over 5 folds, over 2 seeds where there is one fold, bootstrap over clips where there is one run; "
        "two replicates hardly bound anything: raise --seeds; params"
    ) in mixed


def test_the_caption_says_where_an_interval_has_no_width_or_is_exact():
    for count in (2, 3):
        equal = [Trial(str(seed), config(seed=seed)) for seed in range(count)]
        assert "; no width where replicates happen to be equal;" in caption(*equal)
    nearly = [Trial(str(seed), config(seed=seed), accuracy=0.8 + seed / 1000) for seed in range(3)]
    assert "no width" not in caption(*nearly)
    assert "bootstrap over clips, exact where all or none are right; params" in caption(
        Trial("a", config(), accuracy=1.0), Trial("b", config(2))
    )


def test_folds_by_seeds_are_all_counted_but_seeds_of_a_fold_as_one():
    accuracies = {(1, 0): 0.5, (1, 1): 0.7, (2, 0): 0.8, (2, 1): 0.8, (3, 0): 0.9}
    trials = [Trial(f"{f}-{s}", config(fold=f, seed=s), accuracy=a) for (f, s), a in accuracies.items()]
    trials.append(Trial("3-1", config(fold=3, seed=1), state="failed"))
    sweep = sweep_record(sweep_events(trials))
    head, _, row = cells(markdown_table(sweep))
    assert row[head.index("runs")] == "5 of 6"
    assert row[head.index("val acc %")].startswith("76.7 [")  # the mean of 60, 80 and 90
    (point,) = summary(sweep)["points"]
    assert (len(point["replicates"]), point["num_completed"], point["val_accuracy"]["n"]) == (6, 5, 3)


def test_one_replicate_shows_the_interval_over_its_clips():
    sweep = sweep_record(sweep_events([Trial("t0", config(), accuracy=0.8), Trial("t1", config(2), clips=None)]))
    rows = cells(markdown_table(sweep))[2:]
    assert [row[4] for row in rows] == ["80.0 [74.5, 85.5]", "80.0"]


def test_another_metric_is_called_by_its_name(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events([Trial("t0", config())], data={"name": "openmic", "metric": "mAP"}))
    assert cells(markdown_table(sweep))[0][4:6] == ["val mAP %", "test mAP %"]
    assert summary(sweep)["metric"] == "mAP"
    left, right = drawn(monkeypatch, lambda: frontier_picture(sweep, tmp_path / "f.png")).axes
    assert left.get_ylabel() == right.get_ylabel() == "validation mAP (%)"


def test_what_varies_gets_a_column_and_what_is_shared_goes_below():
    trials = [
        Trial("a", config(2, 1)),
        Trial("b", config(2, 1, placement="ffn"), size=9_000),
        Trial("c", config(1, 1, name="bottleneck"), size=8_000),
    ]
    text = markdown_table(sweep_record(sweep_events(trials)))
    head, _, *rows = cells(text)
    assert head[1:3] == ["method", "placement"]
    assert [row[1:3] for row in rows] == [["soft_moa", "attention"], ["soft_moa", "ffn"], ["bottleneck", "attention"]]
    assert "placement" not in text.split("\n\n")[1]
    assert "composition parallel; epochs 3" in text


def test_what_varies_in_many_ways_is_told_by_the_label_alone():
    def columns(*methods):
        trials = [Trial(f"t{i}", config(**method)) for i, method in enumerate(methods)]
        events = sweep_events(trials)
        for event in events:
            if event["type"] == "proposal":
                event["label"] = f"point {event['trial_id']}"
        return cells(markdown_table(sweep_record(events)))[0]

    four = [{"experts": 2, "slots": 3}, {"placement": "ffn"}, {"composition": "sequential"}]
    assert columns(*four)[:6] == ["point", "num_experts", "slots_per_expert", "placement", "composition", "bottleneck"]
    assert columns(*four, {"layers": (0, 1)})[:3] == ["point", "bottleneck", "params"]


def test_a_dial_that_a_method_has_not_is_not_shown():
    linear = Trial("a", config(name="soft_moa"))
    events = sweep_events([linear])
    for event in events:
        if event["type"] == "proposal":
            event["config"]["method"]["name"] = "linear"
    text = markdown_table(sweep_record(events))
    assert cells(text)[2][1] == "–"  # no bottleneck
    assert "method linear; epochs 3" in text


def test_replicates_are_called_what_they_are():
    def noun(*replicates):
        trials = [Trial(f"t{i}", config(seed=s, fold=f)) for i, (s, f) in enumerate(replicates)]
        return summary(sweep_record(sweep_events(trials)))["replicates"]

    assert noun((0, 1)) == "seeds"
    assert noun((0, 1), (1, 1)) == "seeds"
    assert noun((0, 1), (0, 2)) == "folds"
    assert noun((0, 1), (1, 2)) == "runs"


def test_marks():
    accuracies = {1_000: 0.1, 10_000: 0.8, 50_000: 0.5, 100_000: 0.85, 1_000_000: 0.9}
    trials = [Trial(f"t{i}", config(i + 1), size=s, accuracy=a) for i, (s, a) in enumerate(accuracies.items())]
    marks = [mark for _, mark in marked_points(sweep_record(sweep_events(trials)))]
    assert marks == [("front",), ("front", "knee"), (), ("front",), ("front", "best")]


def test_marks_are_on_means_over_seeds():
    trials = [
        Trial("a", config(1, seed=0), size=1_000, accuracy=0.5),
        Trial("b", config(1, seed=1), size=1_000, accuracy=0.7),
        Trial("c", config(2, seed=0), size=2_000, accuracy=0.59),  # beats one seed, not the mean
    ]
    assert [mark for _, mark in marked_points(sweep_record(sweep_events(trials)))] == [("front", "best"), ()]


def test_json_is_the_table(sweep, tmp_path):
    markdown, js = write_tables(sweep, tmp_path)
    assert markdown.read_text() == markdown_table(sweep)
    facts = json.loads(js.read_text())
    assert facts == summary(sweep)
    assert facts["points"][0]["val_accuracy"] == {
        "mean": pytest.approx(0.65),
        "std": pytest.approx(0.5**0.5 / 10),
        "n": 2,
        "low": pytest.approx(0.65 - 12.706 * 0.05, abs=1e-4),
        "high": 1.0,
    }
    nothing = {"val": None, "test": None, "best_epoch": None}
    assert [point["replicates"] for point in facts["points"][:2]] == [
        [
            {"seed": seed, "fold": 1, "val": val, "test": pytest.approx(val - 0.05), "best_epoch": 3}
            | {"device_seconds": 4.0, "state": "completed"}
            for seed, val in ((0, 0.6), (1, 0.7))
        ],
        [
            {"seed": seed, "fold": 1, **nothing, "device_seconds": 4.0, "state": state}
            for seed, state in ((0, "failed"), (1, "stopped"))
        ],
    ]
    assert facts["points"][1]["val_accuracy"] is None
    assert facts["hypervolume"] == pytest.approx(4 * 0.65)
    assert facts["failures"][0]["error"] == "loss is not finite\nin epoch 4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.json", "table.md"]


def test_terminal(sweep):
    console = Console(file=io.StringIO(), width=140)
    console.print(rich_table(sweep))
    text = console.file.getvalue()
    assert "65.0 [1,100]" in text
    assert "failed: t2 (2/1, seed 0, fold 1): loss is not finite in epoch 4" in text


@pytest.mark.parametrize("paper", [None, {"builtin": 78.52}])
def test_a_terminal_of_80_columns_cuts_nothing(paper):
    """Of the widest usual table: the paper's six points, two seeds each."""
    trials = [
        Trial(f"{n}-{seed}", config(n, p, seed), 901_600 + n, 0.8 + seed / 10, paper=paper)
        for n, p in PAIRS
        for seed in (0, 1)
    ]
    sweep = sweep_record(sweep_events(trials))
    console = Console(file=io.StringIO(), width=80)
    console.print(rich_table(sweep))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    for (n, p), mark in zip(PAIRS, ["best", *[""] * 5], strict=True):
        (row,) = [line.split() for line in lines if line.startswith(f"{n}/{p} ")]
        score = ["85.0", "[21,100]", "80.0", "[16,100]", *(["78.52"] if paper else [])]
        assert row == [f"{n}/{p}", "2", f"{901_100 + n:,}", f"{901_600 + n:,}", *score, "2", "4.0", *mark.split()]


def test_a_terminal_shows_the_widest_row_without_a_break():
    """Failed replicates, three digits of seconds, the paper's figures."""
    trials = [Trial("0", config(2, 14), 901_600, 0.8, paper={"builtin": 78.52})]
    trials += [Trial(str(seed), config(2, 14, seed), 901_600, 0.9, state="failed") for seed in (1, 2)]
    trials += [Trial(f"b{seed}", config(24, 1, seed), 904_600, 0.8 + seed / 10) for seed in (0, 1)]
    events = sweep_events(trials)
    for event in events:
        if event["type"] == "end":
            event["device_seconds"] = 237.0
    console = Console(file=io.StringIO(), width=80)
    console.print(rich_table(sweep_record(events)))
    assert re.search(r"^2/14 +2 +901,100 +901,600 .* 1 of 3 +237.0 +front\b", console.file.getvalue(), re.MULTILINE)


def test_text_from_outside_is_shown_as_it_is():
    """Brackets are not markup, and a pipe does not end a cell."""
    trial = Trial("t[red]", config(), state="failed")
    events = sweep_events([trial], study="[bold]odd")
    for event in events:
        if event["type"] == "proposal":
            event["label"] = "a|b[/]"
        if event["type"] == "end":
            event["error"] = "[Errno 2] no such file [/tmp]"
    sweep = sweep_record(events)
    console = Console(file=io.StringIO(), width=140)
    console.print(rich_table(sweep))
    for text in ("[bold]odd", "a|b[/]", "t[red]", "[Errno 2] no such file [/tmp]"):
        assert text in console.file.getvalue()
    assert cells(markdown_table(sweep))[2][0] == r"a\|b[/]"


def nasty_words(events):
    """Escape sequences, bytes that are no text, formulas, tags and links, wherever a journal has words."""
    for event in events:
        if event["type"] == "proposal":
            event["label"] = "\x1b[2J<img src=x onerror=alert(1)>\udcff\n$x$"
        if event.get("error"):
            event["error"] = "\x1b]0;title\x07[click](http://evil)\n# head\udcff"
    return events


@pytest.mark.slow
def test_words_from_outside_act_nowhere(tmp_path):
    """Neither in a terminal, nor in what becomes MLflow's note; the JSON has them as they were."""
    odd = {"study": "\x1b[31mred", "data": {"name": "d\x9b$a$", "bad_clips": {"\udcff.wav": "no\x1b"}}}
    sweep = sweep_record(
        nasty_words(sweep_events([Trial("t", config()), Trial("u", config(2), state="failed")], **odd))
    )
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(rich_table(sweep))
    text = console.file.getvalue()
    assert set(text) & {*map(chr, range(32)), "\x7f", "\x9b", "\udcff"} == {"\n"}
    for shown in (
        r"\x1b[2J<img src=x onerror=alert(1)>\udcff\n$x$",
        r"\x1b]0;title\x07[click](http://evil)",
        r"\x1b[31mred",
    ):
        assert shown in text
    page = write_tables(sweep, tmp_path)[0].read_text(encoding="utf-8")
    assert r"| \x1b[2J&lt;img src=x onerror=alert(1)>\udcff\n&#36;x&#36; |" in page
    assert r"): \x1b]0;title\x07[click\](http&#58;//evil) # head\udcff" in page
    assert "<" not in page
    facts = json.loads((tmp_path / "table.json").read_text())
    assert facts["points"][0]["label"] == "\x1b[2J<img src=x onerror=alert(1)>\udcff\n$x$"
    assert frontier_picture(sweep, tmp_path / "f.png").stat().st_size > 1000


def test_the_same_of_a_search(tmp_path):
    trials = [Trial("t", config()), Trial("u", config(2), state="failed")]
    sweep = sweep_record(nasty_words(search_events(trials)))
    console = Console(file=io.StringIO(), width=200)
    console.print(rich_table(sweep))
    assert set(console.file.getvalue()) & {*map(chr, range(32)), "\x7f", "\udcff"} == {"\n"}
    page = write_tables(sweep, tmp_path)[0].read_text(encoding="utf-8")
    assert "<" not in page
    assert r"[click\](http&#58;//evil)" in page
    assert frontier_picture(sweep, tmp_path / "f.png").stat().st_size > 1000


def test_seconds_are_called_after_what_was_held():
    def said(*devices):
        events = sweep_events([Trial(f"t{i}", config(i + 1)) for i, _ in enumerate(devices)])
        for event, device in zip([e for e in events if e["type"] == "start"], devices, strict=True):
            event["device"] = device
        text = markdown_table(sweep_record(events))
        return cells(text)[0][-2], text.split("; ")[-1].strip()

    assert said("cpu") == ("core-s", "core-s: wall time of one trial x the CPU cores that it holds.")
    assert said("cuda:0") == ("GPU-s", "GPU-s: wall time of one trial x the GPUs (or shares of one) that it holds.")
    assert said("cpu", "cuda")[0] == "device-s"


def test_an_empty_sweep_has_tables_and_a_picture(tmp_path):
    sweep = sweep_record(sweep_events([]))
    assert "no trials" in markdown_table(sweep)
    assert summary(sweep)["hypervolume"] == 0
    assert frontier_picture(sweep, tmp_path / "empty.png").stat().st_size > 1000
