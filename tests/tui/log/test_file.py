"""LogFile and its rows: numbers of lines and bytes, no app."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from pathlib import Path

import pytest

from qdl_tui.log import file as log_file
from qdl_tui.log.file import BLOCK, LineIndex, LogFile, count_blocks
from qdl_tui.log.rows import LineFilter, LogRows
from qdl_tui.log.search import Pattern


def opened(path: Path) -> LogFile:
    file = LogFile(path)
    file.poll()
    return file


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as handle:
        handle.write(data)


@pytest.fixture
def big_from_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of more than a few blocks counts as big."""
    monkeypatch.setattr(log_file, "EAGER", 3 * BLOCK)
    monkeypatch.setattr(log_file, "TAIL", BLOCK)


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


@pytest.mark.usefixtures("big_from_tail")
async def test_big_file_shows_its_tail_before_it_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    path.write_bytes(b"".join(b"line %06d\n" % n for n in range(50_000)))
    file = opened(path)
    assert not file.whole
    assert file.lines < 15_000
    assert file.read_lines(file.lines - 1, 1) == [b"line 049999"]
    append(path, b"one more\n")
    source, blocks = file.snapshot(), file.index.first_block
    counts = await source.in_thread(lambda cancelled: count_blocks(source.read, blocks, cancelled))
    file.poll()
    known = file.lines
    moved = file.adopt(source, counts)
    assert file.whole
    assert file.lines == known + moved == 50_001
    assert file.read_lines(0, 2) == [b"line 000000", b"line 000001"]
    assert file.read_lines(31_234, 1) == [b"line 031234"]
    assert file.read_lines(50_000, 1) == [b"one more"]
    assert file.adopt(source, counts) == 0


async def test_a_thread_that_is_cancelled_ends_and_closes_its_own_snapshot(mixed: Path) -> None:
    source = opened(mixed).snapshot()
    started, ended = threading.Event(), threading.Event()

    def work(cancelled: log_file.Cancelled) -> None:
        started.set()
        while not cancelled():
            assert source.read(0, 1) == b"0"
        ended.set()

    task = asyncio.create_task(source.in_thread(work))
    assert await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 10)


def test_growth_is_bounded_per_poll_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    file = opened(path)
    assert file.lines == 0
    assert file.snapshot().size == 0
    path.write_bytes(b"first\nhalf")
    assert file.poll()
    assert file.generation == 1
    assert file.read_lines(0, 9) == [b"first", b"half"]
    append(path, b" done\n" + b"row\n" * 1000)
    polls = 0
    while file.poll(limit=500):
        polls += 1
    assert polls == 9
    assert file.generation == 1
    assert file.lines == 1002
    assert file.read_lines(1, 2) == [b"half done", b"row"]


@pytest.mark.parametrize("how", ["cut", "cut and grown", "replaced", "removed"])
def test_a_file_truncated_or_replaced_starts_over(tmp_path: Path, how: str) -> None:
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
        assert not file.poll()
        assert file.read_lines(0, 1) == [b"old 1"]
        return
    before, source = file.generation, file.snapshot()
    assert file.poll()
    assert file.generation == before + 1
    assert file.read_lines(0, 1) == [b"new"]
    assert not source.is_current
    assert file.adopt(source, count_blocks(file.read, 0, bool)) == 0


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


def test_rows_follow_a_filtered_file(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"loss 1\nnoise\nloss 2\nlo")
    rows = LogRows(path)
    rows.poll()
    rows.filter = LineFilter(Pattern("loss"))
    for more, shown in ((b"", [0, 2]), (b"ss 3", [0, 2, 3]), (b"\nnoise\n", [0, 2, 3])):
        append(path, more)
        assert rows.poll()
        assert [rows.line_of(row) for row in range(len(rows))] == shown
    assert rows.row_of(1) == 1
    assert rows.line_of(-1) == -1
    assert rows.read([0, 3]) | {1: b"", 2: b""} == {0: b"loss 1", 1: b"", 2: b"", 3: b"loss 3"}
    path.write_bytes(b"loss new\n")
    rows.poll()
    assert len(rows) == 1


@pytest.mark.usefixtures("big_from_tail")
@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_to_the_file_the_rows_are_its_lines(tmp_path: Path, seed: int) -> None:
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
        file.adopt(file.snapshot(), count_blocks(file.read, file.index.first_block, bool))
        if chance.random() < 0.5:
            continue
        rows.poll()
        lines = path.read_bytes().split(b"\n")
        lines = lines if lines[-1] else lines[:-1]
        kept = [n for n, line in enumerate(lines) if (b"keep" in line) != rows.filter.invert]
        assert file.lines == len(lines)
        assert [rows.line_of(row) for row in range(len(rows))] == kept
        assert rows.read(kept[:30]).items() >= {n: lines[n] for n in kept[:30]}.items()
