"""The same bytes on two sides of a split, or under two labels."""

from astmoa.audio.doubles import Doubles, find_doubles, told


def test_only_different_marks_count() -> None:
    names = list("abcdefg")
    digests = ["1", "1", "2", "2", "2", None, ""]
    sides = ["train", "train", "train", "test", "val", "train", "test"]
    found = find_doubles(digests, names, sides)
    assert found == Doubles(1, 3, ("c", "d"), ("train", "test"))
    assert (
        told(found, "on two sides") == "1 sound is on two sides, byte for byte (3 clips), first c (train) and d (test)"
    )
    assert find_doubles(digests, names, ["train"] * 7) is None
    assert find_doubles(["1"] * 7, names, ["train", None, None, None, None, None, None]) is None


def test_all_are_counted_and_one_pair_is_named() -> None:
    digests = [str(i // 2) for i in range(2000)]
    names = [f"{i}\x1b.wav" for i in range(2000)]
    found = find_doubles(digests, names, ["fold 1", "fold 2"] * 1000)
    assert (found.sounds, found.clips) == (1000, 2000)
    assert told(found, "on two sides").startswith(
        "1,000 sounds are on two sides, byte for byte (2,000 clips), first 0\\x1b"
    )
