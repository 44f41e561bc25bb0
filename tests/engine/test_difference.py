"""Differences between two answers, word by word."""

from __future__ import annotations

import pytest

from qdl_engine.difference import MOST_WORDS, marked, word_difference


@pytest.mark.parametrize(
    ("one", "other", "only_one", "only_other"),
    [
        ("the red cat sat", "the blue cat sat down", ["red"], ["blue", "down"]),
        ("a  b\nc", "a b c", [], []),
        ("", "all of it", [], ["all of it"]),
        ("it is 42.", "it is 41.", ["42"], ["41"]),
        ("首都是北京。", "首都是巴黎。", ["北京"], ["巴黎"]),
        ("\x1b[2J one", "one", ["\x1b[2J"], []),
    ],
)
def test_what_only_one_has(one: str, other: str, only_one: list[str], only_other: list[str]) -> None:
    found = word_difference(one, other)
    assert [one[start:end] for start, end in found.one] == only_one
    assert [other[start:end] for start, end in found.other] == only_other
    assert found.same is (not only_one and not only_other)


def test_marks_stand_around_what_differs() -> None:
    found = word_difference("a b c", "a x y c")
    assert marked("a b c", found.one, "[-", "-]") == "a [-b-] c"
    assert marked("a x y c", found.other, "{+", "+}") == "a {+x y+} c"


def test_very_long_answers_are_compared_as_far_as_that_goes_and_say_so() -> None:
    found = word_difference("word " * (MOST_WORDS + 1), "word " * (MOST_WORDS + 1))
    assert found.cut and not found.same
