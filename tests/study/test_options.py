import math
from pathlib import Path

import pytest

from astmoa.errors import RunError
from astmoa.study.options import StudyOptions


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": 10**6},
        {"epochs": 10**30},
        {"lr": math.nan},
        {"seconds": math.inf},
        {"trials_at_once": 10**15},
        {"num_labels": -(10**15)},
    ],
)
def test_what_no_machine_counts_to_is_one_line(options):
    with pytest.raises(RunError, match=rf"--{next(iter(options)).replace('_', '-')} \S+ is not possible: give"):
        StudyOptions(**options)


def test_a_text_is_a_path_and_a_list_is_as_good_as_a_tuple():
    options = StudyOptions(out="runs/mine", folds=[1, 2])
    assert options.out == Path("runs/mine")
    assert options.folds == (1, 2)
    assert options == StudyOptions(out=Path("runs/mine"), folds=(1, 2))


def test_from_python_resume_alone_names_the_folder(monkeypatch):
    monkeypatch.delenv("ASTMOA_STORAGE", raising=False)
    assert StudyOptions(resume="runs/mine").place("new") == (Path("runs/mine"), None)
    assert StudyOptions(resume="runs/mine", storage="s3://b/a").place("new") == (Path("runs/mine"), "s3://b/a/mine")
    assert StudyOptions(resume="runs/mine", storage="shared").place("new") == (Path("runs/mine"), None)
    assert StudyOptions(storage="shared").place("new") == (Path("shared/new"), None)
