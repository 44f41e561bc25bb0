"""Search and filter on bytes: both find the lines that hold a pattern once their colours are gone."""

from __future__ import annotations

import random
import re

import pytest

from qdl_tui.log import search
from qdl_tui.log.file import Read
from qdl_tui.log.rows import LineFilter
from qdl_tui.log.search import Pattern, PatternError, find_line


def reader(data: bytes) -> Read:
    return lambda offset, size: data[offset : offset + size]


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def searched(pattern: Pattern, data: bytes, *, backward: bool, keep: LineFilter | None = None) -> list[int]:
    """Every line that a search finds, from one to the next, until it wraps around."""
    place, found = len(data) if backward else 0, []
    shown = keep.lines_in if keep else None
    while hit := find_line(
        pattern, reader(data), place, len(data), backward=backward, cancelled=bool, shown=shown
    ):
        if hit.wrapped:
            break
        assert hit.offset == 0 or data[hit.offset - 1 : hit.offset] == b"\n"
        found.append(data.count(b"\n", 0, hit.offset))
        after = data.find(b"\n", hit.offset) + 1 or len(data)
        place = hit.offset if backward else after
    return found


def check(pattern: Pattern, data: bytes, expected: list[int]) -> None:
    """Searches in both directions and filters of both kinds agree on the lines that match."""
    assert searched(pattern, data, backward=False) == expected, pattern
    assert searched(pattern, data, backward=True) == expected[::-1], pattern
    end = data.rfind(b"\n") + 1
    for invert in (False, True):
        kept = LineFilter(pattern, invert=invert)
        while kept.end < end:
            kept.scan(reader(data), end, limit=200)
        whole = range(data.count(b"\n"))
        assert list(kept.lines) == [n for n in whole if (n in expected) != invert], pattern


@pytest.fixture(params=[50, 400, 1 << 20])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes a step; lines are shorter and longer than that."""
    monkeypatch.setattr(search, "STEP", request.param)
    return int(request.param)


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("seed", range(14))
def test_a_text_is_found_where_it_stands_without_colours(seed: int) -> None:
    """Any log, any text: the shortcut by escapes finds what is found when the colours are gone."""
    chance = random.Random(seed)
    parts = [b"m", b"a", b"ab", b"b", b"0m", b"A", b"\n", b"\r", "é".encode(), b"31"]
    colours = [b"\x1b[31m", b"\x1b[0m", b"\x1b[m", b"\x1b[1;38;5;9m"]
    broken = [b"\x1b[0M", b"\x1b[2J", b"\x1b", b"\x1b["]
    data = b"".join(chance.choices(parts + colours * chance.choice([0, 1, 3]) + broken, k=600))
    plain = lines_of(re.sub(rb"\x1b\[[0-9;:]*m", b"", data))
    for text in ("ab", "aab", "m", "0m", "ma", "a\r", "aé", "31", "aA", "Aba", "b31", "[m", "baba"):
        any_case = text == text.lower() and text != text.upper()
        lines = [line.lower() if any_case else line for line in plain]
        check(Pattern(text), data, [n for n, line in enumerate(lines) if text.encode() in line])


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("regex", ["^a+b$", r"(?<!b)a\b", "m[^m]*A", r"a\s", "x*", "b.a"])
@pytest.mark.parametrize("seed", range(2))
def test_a_regular_expression_finds_the_lines_it_matches_without_colours(seed: int, regex: str) -> None:
    chance = random.Random(seed)
    parts = [b"a", b"aab", b"b", b"m", b"A", b"\n", b"\n", b"\x1b[31m", b"\x1b[0m", b"\x1b[2J"]
    data = b"".join(chance.choices(parts, k=500)) + b"\n"
    plain = lines_of(re.sub(rb"\x1b\[[0-9;:]*m", b"", data))
    flags = 0 if "A" in regex else re.IGNORECASE
    expected = [n for n, line in enumerate(plain) if re.search(regex.encode(), line, flags)]
    check(Pattern(regex, regex=True), data, expected)


@pytest.mark.parametrize(
    ("pattern", "start", "found"),
    [
        (Pattern("error"), 0, (0, False)),
        (Pattern("ERROR"), 0, (19, False)),
        (Pattern("^error", regex=True), 10, (19, False)),
        (Pattern("one$", regex=True), 0, (0, False)),
        (Pattern(r"\Serror", regex=True), 0, None),
        (Pattern(r"\serr[o]r", regex=True), 0, (10, False)),
        (Pattern("TWO"), 0, None),
        (Pattern("Error"), 10, (0, True)),
    ],
)
def test_search_anchors_case_and_round(pattern: Pattern, start: int, found: tuple[int, bool] | None) -> None:
    data = b"Error one\nno error\nERROR two\n"
    hit = find_line(pattern, reader(data), start, len(data), backward=False, cancelled=bool)
    assert (hit and (hit.offset, hit.wrapped)) == found


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("backward", [False, True])
def test_search_skips_the_lines_that_the_filter_hides(backward: bool) -> None:
    data = b"".join(b"%d needle\n" % n if n % 7 == 0 else b"%d straw\n" % n for n in range(300))
    for invert in (False, True):
        kept = LineFilter(Pattern("4"), invert=invert)
        expected = [n for n in range(0, 300, 7) if ("4" in str(n)) != invert]
        found = searched(Pattern("needle"), data, backward=backward, keep=kept)
        assert found == (expected[::-1] if backward else expected)


@pytest.mark.parametrize("backward", [False, True])
def test_a_line_of_any_length_is_searched_in_pieces(monkeypatch: pytest.MonkeyPatch, backward: bool) -> None:
    monkeypatch.setattr(search, "STEP", 64)
    monkeypatch.setattr(search, "LONG_LINE", 256)
    data = b"first\n" + b"\r 10%" * 1000 + b"\r needle" + b"\r 99%" * 1000 + b"\nlast\n"
    asked: list[int] = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return data[offset : offset + size]

    start = len(data) if backward else 0
    hit = find_line(Pattern("needle"), read, start, len(data), backward=backward, cancelled=bool)
    assert hit is not None and data.count(b"\n", 0, hit.offset) == 1
    assert max(asked) <= 256


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 100, b"a\nb\n" + b"y" * 100])
def test_filter_ends_on_a_file_that_is_not_the_one_counted(data: bytes) -> None:
    kept = LineFilter(Pattern("b"))
    kept.scan(reader(data), 100)
    assert list(kept.lines) in ([], [1])


def test_an_error_in_a_regular_expression_shows_at_once() -> None:
    for text, reason in (("[", "unterminated"), (r"\u00e9", "bad escape")):
        with pytest.raises(PatternError, match=reason):
            Pattern(text, regex=True)
