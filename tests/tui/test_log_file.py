"""LogFile and its index, search and filter: numbers of lines and bytes, no app."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from qdl_tui.widgets import log_file
from qdl_tui.widgets.log_bare import Bare
from qdl_tui.widgets.log_file import Change, LogFile
from qdl_tui.widgets.log_index import BLOCK, LineIndex, count_blocks
from qdl_tui.widgets.log_rows import LogRows
from qdl_tui.widgets.log_search import LineFilter, Pattern, PatternError, search, search_round


def opened(path: Path) -> LogFile:
    file = LogFile(path)
    file.poll()
    return file


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as handle:
        handle.write(data)


def never() -> bool:
    return False


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Lines of every length, some longer than a block, the last one unfinished."""
    chance = random.Random(1)
    lines = [b"%d " % n + b"x" * chance.choice([0, 10, 200, 5000, BLOCK + 7]) for n in range(400)]
    path = tmp_path / "mixed.log"
    path.write_bytes(b"\n".join(lines))
    return path


def test_every_line_is_found_by_its_number(mixed: Path) -> None:
    file, lines = opened(mixed), mixed.read_bytes().split(b"\n")
    assert file.lines == len(lines) == 400
    assert file.partial
    offset = 0
    for number, line in enumerate(lines):
        assert file.line_start(number) == offset
        assert file.line_at(offset) == file.line_at(offset + len(line)) == number
        offset += len(line) + 1
    assert file.read_lines(10, 20) == lines[10:30]
    assert file.read_lines(395, 50) == lines[395:]
    assert file.read_lines(400, 5) == file.read_lines(0, 0) == []


def test_index_does_not_depend_on_how_the_bytes_came(mixed: Path) -> None:
    data, whole, drops = mixed.read_bytes(), LineIndex(), LineIndex()
    whole.feed(data)
    chance, position = random.Random(2), 0
    while position < len(data):
        size = chance.choice([1, 100, BLOCK - 1, BLOCK, 3 * BLOCK])
        drops.feed(data[position : position + size])
        position += size
    assert vars(whole) == vars(drops)


def test_big_file_shows_its_tail_before_it_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "EAGER", 4 * BLOCK)
    monkeypatch.setattr(log_file, "TAIL", BLOCK)
    path = tmp_path / "big.log"
    path.write_bytes(b"".join(b"line %06d\n" % n for n in range(50_000)))
    file = opened(path)
    assert not file.whole
    assert file.lines < 15_000
    assert file.read_lines(file.lines - 1, 1) == [b"line 049999"]
    append(path, b"one more\n")
    snapshot = file.snapshot()
    assert snapshot is not None
    with snapshot:
        counts = count_blocks(snapshot.read, file.index.first_block, never)
    file.poll()
    known = file.lines
    moved = file.adopt(file.generation, counts)
    assert file.whole
    assert file.lines == known + moved == 50_001
    assert file.read_lines(0, 2) == [b"line 000000", b"line 000001"]
    assert file.read_lines(31_234, 1) == [b"line 031234"]
    assert file.read_lines(50_000, 1) == [b"one more"]
    assert file.adopt(file.generation, counts) == 0


def test_growth_is_bounded_per_poll_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    file = opened(path)
    assert file.lines == 0
    assert file.snapshot() is None
    path.write_bytes(b"first\nhalf")
    assert file.poll() is Change.RESET
    assert file.read_lines(0, 9) == [b"first", b"half"]
    append(path, b" done\n" + b"row\n" * 1000)
    polls = 0
    while file.poll(limit=500) is Change.GREW:
        polls += 1
    assert polls == 9
    assert file.lines == 1002
    assert file.read_lines(1, 2) == [b"half done", b"row"]
    assert file.poll() is Change.NONE


@pytest.mark.parametrize("how", ["cut", "cut and grown", "replaced", "removed"])
def test_a_file_cut_or_replaced_starts_afresh(tmp_path: Path, how: str) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"old 1\nold 2\n")
    file = opened(path)
    if how == "cut":
        path.write_bytes(b"new\n")
    elif how == "cut and grown":
        path.write_bytes(b"new\n" * 100)
    elif how == "replaced":
        (tmp_path / "other").write_bytes(b"new\n" * 3)
        os.replace(tmp_path / "other", path)
    else:
        path.unlink()
        assert file.poll() is Change.NONE
        assert file.read_lines(0, 1) == [b"old 1"]
        return
    before = file.generation
    assert file.poll() is Change.RESET
    assert file.generation == before + 1
    assert file.read_lines(0, 1) == [b"new"]
    assert file.adopt(before, count_blocks(file.read, 0, never)) == 0


def test_a_progress_bar_that_never_ends_its_line_is_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"start\n" + b"".join(b"\r%7d/1000000 it" % n for n in range(100_000)))
    (bar,) = opened(path).read_lines(1, 1)
    assert len(bar) < 20_000
    assert bar.rpartition(b"\r")[2] == b"  99999/1000000 it"
    path.write_bytes(b"x" * 3_000_000 + b"\nend\n")
    long, end = opened(path).read_lines(0, 2)
    assert end == b"end"
    assert 1000 < len(long) < 20_000


def test_unreadable_file_says_so(tmp_path: Path) -> None:
    file = opened(tmp_path)
    assert "directory" in file.problem
    assert file.lines == 0


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("step", [64, 1000, 1 << 20])
def test_search_finds_each_match_once_in_order(
    monkeypatch: pytest.MonkeyPatch, backward: bool, step: int
) -> None:
    monkeypatch.setattr("qdl_tui.widgets.log_search.STEP", step)
    data = b"".join(b"%d needle here\n" % n if n % 7 == 0 else b"%d straw\n" % n for n in range(500))
    for pattern in (Pattern("needle"), Pattern(r"ne{2}dle\b", regex=True)):
        found, low, high = [], 0, len(data)
        while (
            hit := search(
                pattern, lambda o, s: data[o : o + s], low, high, backward=backward, cancelled=never
            )
        ) is not None:
            found.append(hit)
            low, high = (low, hit) if backward else (hit + 1, high)
        expected = [at for at in range(len(data)) if data.startswith(b"needle", at)]
        assert found == (expected[::-1] if backward else expected)


def test_search_anchors_case_round_and_errors() -> None:
    data = b"Error one\nno error\nERROR two\n"

    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    def at(pattern: Pattern, start: int = 0) -> int | None:
        return search(pattern, read, start, len(data), backward=False, cancelled=never)

    assert at(Pattern("error")) == 0
    assert at(Pattern("ERROR")) == data.index(b"ERROR")
    assert at(Pattern("^error", regex=True), 1) == data.index(b"ERROR")
    assert at(Pattern("one$", regex=True)) == 6
    assert at(Pattern(r"\Serror", regex=True)) is None
    assert at(Pattern(r"\serr[o]r", regex=True)) == 12
    assert at(Pattern("TWO")) is None
    assert at(Pattern("absent")) is None
    hit = search_round(Pattern("Error"), read, 5, len(data), backward=False, cancelled=never)
    assert hit is not None and hit.round and hit.offset == 0
    kept = LineFilter(Pattern("two"))
    only = search_round(
        Pattern("error"),
        read,
        0,
        len(data),
        backward=False,
        cancelled=never,
        accept=lambda offset: kept.accepts_at(read, offset),
    )
    assert only is not None and only.offset == data.index(b"ERROR")
    with pytest.raises(PatternError, match="unterminated"):
        Pattern("[", regex=True)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("step", [16, 300, 1 << 20])
def test_filter_keeps_the_right_lines_however_they_come(
    monkeypatch: pytest.MonkeyPatch, invert: bool, step: int
) -> None:
    monkeypatch.setattr("qdl_tui.widgets.log_search.STEP", step)
    lines = [b"warn %d" % n if n % 5 == 0 else b"info %d" % n for n in range(300)]
    data = b"\n".join(lines) + b"\n"
    kept = LineFilter(Pattern("warn"), invert=invert)
    for end in (data.rfind(b"\n", 0, 1000) + 1, len(data)):
        while kept.end < end:
            kept.scan(lambda offset, size: data[offset : offset + size], end, limit=200)
    assert list(kept.lines) == [n for n, line in enumerate(lines) if (b"warn" in line) != invert]


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 100, b"a\nb\n" + b"y" * 100])
def test_filter_ends_on_a_file_that_is_not_the_one_counted(data: bytes) -> None:
    kept = LineFilter(Pattern("b"))
    kept.scan(lambda offset, size: data[offset : offset + size], 100)
    assert list(kept.lines) in ([], [1])


def test_rows_follow_a_filtered_file(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"loss 1\nnoise\nloss 2\nlo")
    rows = LogRows(path)
    rows.poll()
    rows.filter = LineFilter(Pattern("loss"))
    assert rows.poll()[1]
    assert [rows.line_of(row) for row in range(len(rows))] == [0, 2]
    append(path, b"ss 3")
    assert rows.poll()[1]
    assert [rows.line_of(row) for row in range(len(rows))] == [0, 2, 3]
    append(path, b"\nnoise\n")
    rows.poll()
    assert [rows.line_of(row) for row in range(len(rows))] == [0, 2, 3]
    assert rows.row_of(1) == 1
    assert rows.line_of(-1) == -1
    assert rows.read([0, 3]) | {1: b"", 2: b""} == {0: b"loss 1", 1: b"", 2: b"", 3: b"loss 3"}
    path.write_bytes(b"loss new\n")
    rows.poll()
    assert len(rows) == 1


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_to_the_file_the_rows_are_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(log_file, "EAGER", 3 * BLOCK)
    monkeypatch.setattr(log_file, "TAIL", BLOCK)
    chance, path = random.Random(seed), tmp_path / "run.log"
    rows = LogRows(path)
    rows.filter = LineFilter(Pattern("keep"), invert=chance.random() < 0.5)
    for number in range(80):
        choice = chance.random()
        if choice < 0.05:
            path.write_bytes(b"cut %d\n" % number)
        elif choice < 0.1:
            (tmp_path / "other").write_bytes(b"new %d keep\n" % number * chance.choice([1, 40_000]))
            os.replace(tmp_path / "other", path)
        else:
            parts = [b"keep\n", b"drop", b"\n", b"\rkeep", b"x" * 9000 + b"\n"]
            append(path, b"".join(chance.choices(parts, k=chance.choice([1, 50]))))
        rows.poll()
        file = rows.file
        assert file is not None
        file.adopt(file.generation, count_blocks(file.read, file.index.first_block, never))
        if chance.random() < 0.5:
            continue
        rows.poll()
        lines = path.read_bytes().split(b"\n")
        lines = lines if lines[-1] else lines[:-1]
        kept = [n for n, line in enumerate(lines) if (b"keep" in line) != rows.filter.invert]
        assert file.lines == len(lines)
        assert [rows.line_of(row) for row in range(len(rows))] == kept
        assert rows.read(kept[:30]).items() >= {n: lines[n] for n in kept[:30]}.items()


def test_places_without_colours_lead_back_to_their_bytes() -> None:
    data = b"\x1b[1ma\x1b[0mb\x1b[31m\x1b[1mc\x1b[2Jd\x1b[0m"
    bare = Bare(data)
    assert bare.text == b"abc\x1b[2Jd"
    for letter in (b"a", b"b", b"c", b"d"):
        assert bare.offset(bare.text.index(letter)) == data.index(letter, 3 if letter == b"a" else 0)
        assert bare.place(bare.offset(bare.text.index(letter))) == bare.text.index(letter)
    assert bare.place(len(data)) == len(bare.text)


@pytest.mark.parametrize("regex", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_a_match_split_by_colours_is_found_once(regex: bool, backward: bool) -> None:
    data = b"x\n" + b"er\x1b[31mror\n" * 3 + b"error\n"
    found, low, high = [], 0, len(data)
    while (
        hit := search(
            Pattern("error", regex),
            lambda o, s: data[o : o + s],
            low,
            high,
            backward=backward,
            cancelled=never,
        )
    ) is not None:
        found.append(data.count(b"\n", 0, hit))
        low, high = (low, hit) if backward else (hit + 1, high)
    assert found == ([4, 3, 2, 1] if backward else [1, 2, 3, 4])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_a_text_is_found_where_it_stands_without_colours(
    monkeypatch: pytest.MonkeyPatch, seed: int, backward: bool
) -> None:
    """Any log, any text: the shortcut by escapes finds what is found when the colours are taken out."""
    chance = random.Random(seed)
    monkeypatch.setattr("qdl_tui.widgets.log_search.STEP", chance.choice([50, 400, 1 << 20]))
    parts = [b"m", b"a", b"ab", b"b", b"0m", b"A", b"\n", b"\r", "é".encode(), b"31"]
    colours = [b"\x1b[31m", b"\x1b[0m", b"\x1b[m", b"\x1b[1;38;5;9m"]
    broken = [b"\x1b[0M", b"\x1b[2J", b"\x1b", b"\x1b["]
    data = b"".join(chance.choices(parts + colours * chance.choice([0, 1, 3]) + broken, k=600))
    bare = Bare(data)
    for text in ("ab", "aab", "m", "0m", "ma", "a\r", "aé", "31", "aA", "Aba", "b31", "[m", "baba"):
        lowered = bare.text.lower() if text == text.lower() and text != text.upper() else bare.text
        expected = [bare.offset(at) for at in range(len(lowered)) if lowered.startswith(text.encode(), at)]
        pattern, found, low, high = Pattern(text), [], 0, len(data)
        while (
            hit := search(
                pattern, lambda o, s: data[o : o + s], low, high, backward=backward, cancelled=never
            )
        ) is not None:
            found.append(hit)
            low, high = (low, hit) if backward else (hit + 1, high)
        assert found == (expected[::-1] if backward else expected), text
        kept = LineFilter(pattern)
        while kept.end < len(data):
            before = kept.end
            kept.scan(lambda o, s: data[o : o + s], data.rfind(b"\n") + 1)
            if kept.end == before:
                break
        ended = data.count(b"\n")
        assert list(kept.lines) == sorted({data.count(b"\n", 0, at) for at in expected} - {ended}), text


@pytest.mark.parametrize("regex", ["^a+b$", r"(?<!b)a\b", "m[^m]*A", r"a\s", "x*", "b.a"])
@pytest.mark.parametrize("seed", range(5))
def test_a_regular_expression_keeps_the_lines_it_matches_without_colours(
    monkeypatch: pytest.MonkeyPatch, seed: int, regex: str
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("qdl_tui.widgets.log_search.STEP", chance.choice([60, 500, 1 << 20]))
    parts = [b"a", b"aab", b"b", b"m", b"A", b"\n", b"\n", b"\x1b[31m", b"\x1b[0m", b"\x1b[2J"]
    data = b"".join(chance.choices(parts, k=500)) + b"\n"
    plain = re.sub(rb"\x1b\[[0-9;:]*m", b"", data).splitlines()
    flags = 0 if "A" in regex else re.IGNORECASE
    kept = LineFilter(Pattern(regex, regex=True))
    kept.scan(lambda o, s: data[o : o + s], len(data))
    assert list(kept.lines) == [n for n, line in enumerate(plain) if re.search(regex.encode(), line, flags)]
