from hypothesis import given
from hypothesis import strategies as st

from astmoa.errors import printable


@given(st.text(st.characters(codec=None), max_size=50))  # surrogates too: names that are no UTF-8
def test_what_is_shown_is_one_line_that_any_terminal_takes(text):
    shown = printable(text)
    assert all(c.isprintable() or c in "\u200c\u200d" for c in shown)
    shown.encode()


def test_what_is_escaped_and_what_is_not():
    assert printable("a\x1b[31mb\nc\u202ed\x9b") == "a\\x1b[31mb\\nc\\u202ed\\x9b"
    assert printable("\udcff.wav") == "\\udcff.wav"
    assert printable("Müller | <b> 狗 \u200d") == "Müller | <b> 狗 \u200d"


def test_what_is_too_long_is_cut():
    assert printable("x" * 200_000, 10) == "xxxxxx ..."
    assert printable("x" * 10, 10) == "x" * 10
