"""What a journal's words come to in markdown, asked of a renderer, and in pictures."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from astmoa.errors import printable
from astmoa.report.cells import pipe_table
from astmoa.report.words import drawn, markdown

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# Whatever acts somewhere: in CommonMark, in GitHub's, in what MLflow's pages are made with.
PIECES = [
    *r"`*_[]()<>&|\!#$~:-+=.@/{}^ ;1aZé狗",
    *("http://evil", "www.", "a@b.co", "&lt;", "&#60;", "<img src=x onerror=alert(1)>", "<!--", "](", "![", "__", "**"),
    *("~~", "```", r"\|", "1. ", "- ", "> ", "# ", "---", ":smile:", "@user", "\n", "\t", "\x1b[31m", "\udcff", "12_2"),
]
words = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def rendered(text):
    """The tags of a rendered text, and what is read there."""
    page = RENDERER.render(text)
    return set(re.findall(r"<(\w+)", page)), " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def shown(text):
    return " ".join(printable(text, 200).split())


@settings(max_examples=300)
@given(words)
def test_words_are_shown_as_their_own_characters(label):
    table = "\n".join(pipe_table([("p", False), ("q", False)], [[label, "x"]]))
    assert rendered(table) == (
        {"table", "thead", "tbody", "tr", "th", "td"},
        f"p q {shown(label)} x".replace("  ", " "),
    )
    assert rendered(f"{markdown(label, 200)} end\n") == ({"p"}, f"{shown(label)} end".strip())
    assert rendered(f"- failed: {markdown(label, 200)}\n") == ({"ul", "li"}, f"failed: {shown(label)}".strip())


@pytest.mark.parametrize(
    "label",
    [
        "12/2",
        "soft 12/2 r2 attention",
        "12_2",
        "soft_moa",
        "a__b",
        "65.0 [1.5, 100.0]",
        "+1.2 [+0.1]",
        "R & D",
        "a (b)",
    ],
)
def test_usual_words_stay_as_readable_as_they_are(label):
    assert markdown(label) == label


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
        ("[click](http://evil)", r"[click\](http&#58;//evil)"),  # neither a link nor an address that becomes one
        ("www.evil.com and a@b.co", "ww&#119;.evil.com and a&#64;b.co"),
        (":smile:", "&#58;smile:"),
        ("$x$", "&#36;x&#36;"),
        ("_x_ *y* ~z~ `c` a|b", r"\_x\_ \*y\* \~z\~ \`c\` a\|b"),
        ("1. # a\n", r"1\. # a\n"),
        ("é_x_é", r"é\_x\_é"),  # some renderers know no letters but English ones
    ],
)
def test_what_would_act_is_escaped(label, written):
    assert markdown(label) == written


@pytest.mark.parametrize(
    ("label", "text"),
    [("$a$", r"\$a\$"), ("_x", " _x"), (" ", "–"), ("a\nb\udcff", r"a\nb\udcff"), ("x" * 99, "x" * 16 + " ...")],
)
def test_a_picture_draws_words_as_they_are(label, text):
    assert drawn(label, 20) == text
