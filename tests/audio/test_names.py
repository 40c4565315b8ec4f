"""Labels and groups: what is none, and what may be meant as one."""

import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from astmoa.audio.names import check_classes, check_label, doubtful
from astmoa.errors import DataError


@pytest.mark.parametrize("label", ["x" * 201, "x" * 200_000, "a\x1b[31mb", "a\x07", "a\u2028b", "\udce9", "a\tb"])
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(DataError) as caught:
        check_label("table line 7", label)
    assert str(caught.value).startswith("table line 7: the label ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("label", ["dog", "x" * 200, "crying, baby", "狗", "🐕‍🦺", "crème brûlée", "a/b", "0"])
def test_what_is_one(label: str) -> None:
    check_label("table", label)


def test_one_class_and_too_many() -> None:
    with pytest.raises(DataError, match="one class, dog: nothing to tell apart"):
        check_classes(Path("x"), ["dog"])
    with pytest.raises(DataError, match="60,000 classes, 0 for one: give at most 50,000; is that the column of labels"):
        check_classes(Path("x"), map(str, range(60_000)))
    check_classes(Path("x"), ["dog", "cat"])


@pytest.mark.parametrize(
    "other",
    ["Dog house", "dog  house", "doghouse", "dog\u00a0house", "dog house\u200b", "ｄｏｇ house", "DOG HOUSE"],
)
def test_names_that_differ_in_nothing_but_writing(other: str) -> None:
    (warning,) = doubtful("table", "classes", Counter({"dog house": 5, other: 1, "cat": 3}))
    assert warning.startswith("table: classes 'dog house' (5) and ")
    assert warning.endswith(
        " (1) differ only in case, blanks, Unicode form or a number's writing: write them alike if they are one"
    )
    assert "\n" not in warning


def test_names_that_are_different() -> None:
    assert (
        doubtful("table", "classes", Counter(["a", "b", "ab", "1", "10", "狗", "é", "e", "—", "-", "1-2", "."])) == []
    )
    same = Counter([unicodedata.normalize(form, "é") for form in ("NFC", "NFD")])
    assert len(doubtful("table", "groups", same)) == 1
    assert len(doubtful("table", "classes", Counter(["1", "01", "1.0", "+1", "2"]))) == 1
