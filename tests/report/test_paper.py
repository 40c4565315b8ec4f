import pytest

from astmoa.records.load import sweep_record
from astmoa.report.summary import summary
from astmoa.report.tables import markdown_table
from tests.helpers.journals import Trial, config, every_state, sweep_events
from tests.helpers.pictures import cells

SETTING = {
    "data": ["esc50", "fluent_speech_commands"],
    "hidden_size": 768,
    "num_layers": 12,
    "epochs": {"esc50": 3, "fluent_speech_commands": 75},
    "folds": {"esc50": 2},
}
AST = {"name": "hub/ast", "hidden_size": 768, "num_layers": 12}
VALIDATION = {"validation": {"urbansound8k": "the test fold"}}
SAME = "paper: Table 9, same in all that is compared ("


def against_the_paper(folds=(1, 2), data=None, backbone=AST, setting=SETTING, **changes):
    trials = [Trial(f"{n}-{f}", config(n, fold=f), paper={"esc50": 80.0 + n}) for n in (2, 4) for f in folds]
    trials += [Trial(f"7-{f}", config(7, fold=f)) for f in folds]
    header = {
        "data": {"name": "esc50"} if data is None else data,
        "backbone": backbone,
        "paper": {"source": "Table 9", "setting": setting},
    }
    return sweep_record(sweep_events(trials, **(header | changes)))


def test_the_papers_figures_stand_beside_ours():
    sweep = against_the_paper()
    head, _, *rows = cells(markdown_table(sweep))
    column = head.index("paper %")
    assert [row[column] for row in rows] == ["82.00", "84.00", "–"]
    assert (
        "; paper: Table 9, same in all that is compared (backbone has 12 layers of 768, 3 epochs, folds 2); params"
        in markdown_table(sweep)
    )
    facts = summary(sweep)
    assert [point["paper_percent"] for point in facts["points"]] == [82.0, 84.0, None]
    assert facts["paper"].startswith("paper: Table 9, same in all that is compared (")


def test_another_setting_is_said():
    sweep = against_the_paper(folds=(1,), backbone={"name": "builtin", "hidden_size": 192, "num_layers": 6})
    assert summary(sweep)["paper"] == (
        "paper: Table 9; not the paper's setting: backbone has 6 layers of 192 (paper 12 of 768), folds 1 (paper 2)"
    )
    setting = SETTING | {"epochs": 50, "clips": 2000, "classes": {"esc50": 50}, "backbone": "MIT/ast", "seconds": 5.0}
    sweep = against_the_paper(setting=setting)
    note = summary(sweep)["paper"]
    assert "3 epochs (paper 50), backbone hub/ast (paper MIT/ast)" in note
    assert note.endswith("; not compared: clips, classes, seconds")  # this journal does not say them


def test_the_data_themselves_are_compared():
    setting = {"clips": {"esc50": 2000}, "classes": {"esc50": 50}, "seconds": 5.0}
    data = {"name": "esc50", "clips": 1000, "labels": ["a"] * 50, "seconds": 5.0, "metric": "mAP"}
    note = summary(against_the_paper(data=data, setting=setting))["paper"]
    assert note == ("paper: Table 9; not the paper's setting: metric mAP (paper accuracy), 1000 clips (paper 2000)")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"data": "builtin"}, "paper: its figures are for ESC-50; none for this data"),
        ({"paper": {"source": "Table 9"}}, "paper: Table 9; its setting is not known"),
        ({"paper": None}, "paper: source unknown; its setting is not known"),
    ],
)
def test_where_the_paper_says_less(changes, note):
    assert summary(against_the_paper(**changes))["paper"] == note


def test_without_a_figure_there_is_no_column():
    assert "paper %" not in markdown_table(against_the_paper(data="builtin"))
    sweep = sweep_record(sweep_events(every_state()))
    assert (summary(sweep)["paper"], "paper %" in markdown_table(sweep)) == (None, False)
    sweep = sweep_record(sweep_events(every_state(), paper={"source": "Table 9", "setting": {"data": ["builtin"]}}))
    assert summary(sweep)["paper"] == "paper: Table 9 has no figure for these points"


def trials_with_figures(data_name="esc50", folds=2, figures=(80.0, 81.0), seeds=1, **changes):
    """One point for each figure, in all folds."""
    return [
        Trial(f"{n}-{f}-{s}", config(2 + n, fold=f + 1, seed=s, **changes), paper={data_name: figure})
        for n, figure in enumerate(figures)
        for f in range(folds)
        for s in range(seeds)
    ]


def note(trials, setting, data=None, ours=AST, changed=None):
    """setting: the paper's. ours: our backbone."""
    paper = {"source": "Table 9", "setting": setting} | ({} if changed is None else {"changed": changed})
    header = {"data": {"name": "esc50"} | (data or {}), "backbone": ours, "paper": paper}
    return summary(sweep_record(sweep_events(trials, **header)))["paper"]


def test_rows_without_a_figure_are_not_compared():
    """AAT in the table of methods: other epochs, another number of folds, no figure."""
    others = [
        Trial("aat", config(9, epochs=25, faithful=("padding",))),
        Trial("x", config(8, epochs=9), paper={"k": 1}),
    ]
    assert note([*trials_with_figures(), *others], {"epochs": 3, "folds": 2}) == f"{SAME}3 epochs, folds 2)"
    others = [Trial("aat", config(9, epochs=25), paper={"esc50": 80.0})]
    assert note([*trials_with_figures(), *others], {"epochs": 3}).endswith("setting: 3 to 25 epochs (paper 3)")


def test_every_point_must_have_the_papers_folds():
    trials = trials_with_figures(folds=5)
    assert note(trials, {"folds": 5}) == f"{SAME}folds 5)"
    new = Trial("new", config(9), paper={"esc50": 80.0})
    assert note([*trials, new], {"folds": 5}).endswith("setting: folds 1 to 5 (paper 5)")
    failed = Trial("new", config(9), paper={"esc50": 80.0}, state="failed")
    assert note([*trials, failed], {"folds": 5}).endswith("setting: folds 0 to 5 (paper 5)")
    halves = [*trials[:2], *trials[7:]]  # folds 1 and 2 of one point, 3 to 5 of the other: nobody has five
    assert note(halves, {"folds": 5}).endswith("setting: folds 2 to 3 (paper 5)")
    assert note(trials_with_figures(folds=2, seeds=3), {"folds": 5}).endswith("setting: folds 2 (paper 5)")
    assert note([failed], {"folds": 5, "epochs": 3}) == f"{SAME}3 epochs); not compared: folds"


def test_clips_that_were_left_out_are_missing():
    trials, data = trials_with_figures(), {"clips": 2000, "bad_clips": {}}
    assert note(trials, {"clips": 2000}, data) == f"{SAME}2000 clips)"
    data["bad_clips"] = {"a.wav": "truncated", "b.wav": "empty"}
    assert note(trials, {"clips": 2000}, data).endswith("not the paper's setting: 1998 clips (paper 2000)")


def test_changed_options_and_switches_depart_from_the_paper():
    trials = trials_with_figures()
    assert note(trials, {"epochs": 3}, changed=[]) == f"{SAME}3 epochs)"
    differs = "paper: Table 9; not the paper's setting: with --lr 1, with --batch-size 8"
    assert note(trials, {}, changed=["--lr 1", "--batch-size 8"]) == differs
    assert note(trials, {"epochs": 3}, changed=["--lr 1", "--batch-size 8"]) == differs
    other = "not the paper's setting: 3 epochs (paper 50), with --lr 1"
    assert note(trials, {"epochs": 50}, changed=["--lr 1"]).endswith(other)
    switched = [
        Trial("one", config(8, faithful=("padding", "added_twice")), paper={"esc50": 80.0}),
        Trial("two", config(9, faithful=("last_epoch", "padding")), paper={"esc50": 80.0}),
    ]
    assert note([*trials, *switched], {"epochs": 3}).endswith(
        "not the paper's setting: faithful switches: added_twice, last_epoch, padding"
    )


def test_validation_on_the_test_fold_is_the_papers_on_urbansound8k():
    def of(data_name, faithful=(), more=()):
        trials = [*trials_with_figures(data_name, faithful=faithful), *more]
        return note(trials, {"epochs": 3} | VALIDATION, {"name": data_name})

    assert of("urbansound8k").endswith("setting: validation on a held-out part (paper the test fold)")
    assert of("urbansound8k", ("validate_on_test",)) == f"{SAME}3 epochs, validation on the test fold)"
    assert of("urbansound8k", ("last_epoch", "validate_on_test")).endswith("setting: faithful switches: last_epoch")
    other = Trial("other", config(9, faithful=("validate_on_test",)), paper={"urbansound8k": 80.0})
    both = "validation on a held-out part and the test fold (paper the test fold)"
    assert of("urbansound8k", more=[other]).endswith(both)
    assert of("esc50") == f"{SAME}3 epochs)"  # its validation fold is the paper's
    assert of("esc50", ("validate_on_test",)).endswith("setting: faithful switches: validate_on_test")


def test_the_backbone_is_known_by_its_name():
    trials, name = trials_with_figures(), "MIT/ast-finetuned-audioset-10-10-0.4593"
    assert note(trials, {"backbone": name}, ours=AST | {"name": name}) == f"{SAME}backbone {name})"
    assert note(trials, {"backbone": name}).endswith(f"not the paper's setting: backbone hub/ast (paper {name})")
    # Not "?", which stands for a name that the journal does not tell.
    assert note(trials, {"backbone": name, "epochs": 3}, ours=None) == f"{SAME}3 epochs); not compared: backbone"


def as_in_the_study(data_name, folds, epochs=None, faithful=(), data=None, ours=None, changed=()):
    """The note of a sweep in the setting that the studies write, but for what is said."""
    from astmoa.study.run_study import SOFT_MOA_SETTING

    setting = {key: v.get(data_name) if isinstance(v, dict) else v for key, v in SOFT_MOA_SETTING.items()}
    trials = trials_with_figures(data_name, folds, epochs=epochs or setting["epochs"], faithful=faithful)
    known = {"name": data_name, "labels": [str(n) for n in range(setting["classes"])], "bad_clips": {}}
    known |= {key: setting[key] for key in ("clips", "seconds")}
    backbone = AST | {"name": setting.get("backbone", "any")} | (ours or {})
    return note(trials, SOFT_MOA_SETTING | VALIDATION, known | (data or {}), backbone, changed)


def test_the_studies_own_setting():
    found = as_in_the_study("esc50", 5)
    assert found.startswith(SAME)
    for text in ("backbone has 12 layers of 768", "50 epochs", "folds 5", "seconds 5.0", "50 classes", "2000 clips"):
        assert text in found
    assert "not compared" not in found
    assert as_in_the_study("speech_commands_v2", 1).startswith(SAME)  # no folds to compare
    assert as_in_the_study("urbansound8k", 10, faithful=("validate_on_test",)).startswith(SAME)


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"folds": 1}, "folds 1 (paper 10)"),
        ({"epochs": 6}, "6 epochs (paper 30)"),
        ({"data": {"bad_clips": {"a.wav": "empty"}}}, "8731 clips (paper 8732)"),
        ({"data": {"seconds": 10.0}}, "seconds 10.0 (paper 4.0)"),
        ({"ours": {"num_layers": 6}}, "backbone has 6 layers of 768 (paper 12 of 768)"),
        ({"changed": ["--batch-size 8"]}, "with --batch-size 8"),
        ({"faithful": ()}, "validation on a held-out part (paper the test fold)"),
        ({"faithful": ("padding", "validate_on_test")}, "faithful switches: padding"),
    ],
)
def test_one_departure_from_the_studies_own_setting(changes, differs):
    found = as_in_the_study("urbansound8k", **{"folds": 10, "faithful": ("validate_on_test",)} | changes)
    assert found == f"paper: Table 9; not the paper's setting: {differs}"
