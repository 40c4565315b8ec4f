import os

import pytest

from astmoa.files.whole import check_place, unfinished_name, whole_file


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    place = tmp_path / "table.md"
    for text in ("first", "second"):
        with whole_file(place) as unfinished:
            unfinished.write_text(text)
            assert not place.exists() or place.read_text() == "first"
        assert place.read_text() == text
    with pytest.raises(KeyError):
        _fail_half_way(place)
    assert place.read_text() == "second"
    assert os.listdir(tmp_path) == ["table.md"]


def _fail_half_way(place):
    with whole_file(place) as unfinished:
        unfinished.write_text("half")
        raise KeyError


def test_two_writers_do_not_meet(tmp_path):
    """In two containers both may be process 1."""
    with whole_file(tmp_path / "a") as one, whole_file(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one"  # the outer block ends last
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_removed_an_hour_later(tmp_path):
    place = tmp_path / "a[1].png"
    old, young, earlier_version = unfinished_name(place), unfinished_name(place), tmp_path / f".{place.name}.4711"
    others = [tmp_path / ".a[1].png.notes.tmp", tmp_path / f".b{old.name[2:]}"]
    for path in (old, young, earlier_version, *others):
        path.touch()
    for path in (old, earlier_version, *others):
        os.utime(path, (1e9, 1e9))
    with whole_file(place) as unfinished:
        unfinished.touch()
    assert set(tmp_path.iterdir()) == {place, young, *others}


@pytest.mark.parametrize(("place", "kind"), [(".", IsADirectoryError), ("none/a", FileNotFoundError), ("f/a", OSError)])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place, kind):
    (tmp_path / "f").touch()
    with pytest.raises(kind) as caught:
        check_place(tmp_path / place)
    assert caught.value.filename == str(tmp_path / place)
    check_place(tmp_path / "f")
    check_place(tmp_path / "new")
    assert os.listdir(tmp_path) == ["f"]
