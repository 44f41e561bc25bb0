"""Differences between two answers, word by word."""

from __future__ import annotations

import pytest

from qdl_engine.compare.difference import MOST_WORDS, marked, word_difference


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


def test_a_word_changed_in_a_long_text_is_found_alone() -> None:
    words = [f"word{number % 150} and" for number in range(400)]
    changed = [*words[:200], "NEW and", *words[201:]]
    found = word_difference(" ".join(words), " ".join(changed))
    assert len(found.one) == len(found.other) == 1
    ((start, end),) = found.other
    assert " ".join(changed)[start:end] == "NEW"


def test_models_that_repeat_themselves_are_compared_too() -> None:
    found = word_difference("a b " * 1000, "b c " * 1000)
    assert found.one and found.other and not found.same
    assert word_difference("a b " * 1000, "a b " * 1000 + "c").other == ((4000, 4001),)
