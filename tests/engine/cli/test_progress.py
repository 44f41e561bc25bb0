"""The line of progress: on a terminal, elsewhere, and as long as there is room for."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.events import Finished, Metrics, Note, Progress, Started
from qdl_engine.core.words import duration


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line_that_goes_away() -> None:
    screen = Terminal()
    with ProgressLine(screen) as progress:
        progress(Progress(stage="label", done=5, total=10, unit="rows"))
        progress(Note("\x1b[2J"))
    assert screen.getvalue().startswith("\r\x1b[Klabel ████████████░░░░░░░░░░░░ 5/10 rows (50%)")
    assert screen.getvalue().endswith("\r\x1b[K␛[2J\n")


def test_asking_a_teacher_shows_speed_cost_failures_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = Progress(
        stage="label",
        done=1234,
        total=4500,
        unit="prompts",
        tokens_per_second=987.6,
        eta_seconds=187.0,
        cost=12.345,
        failed=2,
    )
    lines = {}
    for columns in (140, 100, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        screen = Terminal()
        ProgressLine(screen)(asking)
        lines[columns] = screen.getvalue().removeprefix("\r\x1b[K")
        assert len(lines[columns]) < columns
    figures = "1,234/4,500 prompts (27%) 3 min 7 s left 988 tokens/s cost 12.35 2 failed"
    assert lines[140] == f"label {'█' * 7}{'░' * 17} {figures}"
    assert "█" in lines[100] and lines[100].endswith(figures)
    assert "cost 12.35" in lines[80] and "█" not in lines[80]


def test_progress_elsewhere_is_plain_lines_one_a_tenth() -> None:
    out = io.StringIO()
    progress = ProgressLine(out)
    for done in range(101):
        progress(Progress(stage="read", done=done, total=100, unit="rows"))
    assert len(out.getvalue().splitlines()) == 11 and "\x1b" not in out.getvalue()


def test_what_happened_before_is_not_told_again_but_for_its_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    past = [
        Progress(stage="load", done=0, unit="rows"),
        Note("Look here"),
        Started(step=0, total_steps=8700),
        Progress(stage="load", done=0, unit="rows"),
        Metrics(step=472, total_steps=8700, loss=1.5),
    ]
    log = io.StringIO()
    ProgressLine(log).catch_up(past)
    assert log.getvalue() == "Look here\ntrain  472/8,700 steps  (5%)  loss 1.500\n"
    monkeypatch.setenv("COLUMNS", "80")
    screen = Terminal()
    ProgressLine(screen).catch_up(past)
    assert "472/8,700" in screen.getvalue() and "load" not in screen.getvalue()


def test_a_line_that_is_too_long_loses_whole_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    screen = Terminal()
    ProgressLine(screen)(Metrics(step=5640, total_steps=7360, loss=0.466, tokens_per_second=5000))
    shown = screen.getvalue().removeprefix("\r\x1b[K")
    assert shown == "train 5,640/7,360 steps (77%) loss 0.466 5,000 tokens/s"
    monkeypatch.setenv("COLUMNS", "50")
    screen = Terminal()
    ProgressLine(screen)(Metrics(step=5640, total_steps=7360, loss=0.466, tokens_per_second=5000))
    assert screen.getvalue().removeprefix("\r\x1b[K") == "train 5,640/7,360 steps (77%) loss 0.466"


def test_a_training_that_was_saved_does_not_begin_again() -> None:
    out = io.StringIO()
    progress = ProgressLine(out)
    progress(Metrics(step=4, total_steps=4, loss=1.0))
    progress(Progress(stage="save", done=4, total=4, unit="steps"))
    progress(Finished(path="x"))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["train", "save"]


def test_two_students_share_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    progress = ProgressLine(screen)
    progress(Progress(stage="label", done=1, total=10, unit="rows", system="system1"))
    progress(Metrics(step=3, total_steps=4, system="system2"))
    monkeypatch.setattr("qdl_engine.cli.progress._REDRAW_SECONDS", 0.0)
    progress(Metrics(step=3, total_steps=4, system="system2"))
    last = screen.getvalue().rsplit("\x1b[K", 1)[1]
    assert "system1 label" in last and "system2 train 3/4" in last and " | " in last
    progress(Finished(path="x", system="system2"))
    last = screen.getvalue().rsplit("\x1b[K", 1)[1]
    assert "system1 label" in last and "system2" not in last


def test_the_line_fits_a_narrow_terminal_without_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("qdl_engine.cli.progress._REDRAW_SECONDS", 0.0)
    screen = Terminal()
    progress = ProgressLine(screen)
    for system in ("system1", "system2"):
        progress(Progress(stage="train", done=1, total=7, unit="steps", eta_seconds=408, system=system))
    assert screen.getvalue().rsplit("\x1b[K", 1)[1] == "system1 train 14% | system2 train 14%"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "system1 label 33% 42 s left | system2 train 41% 3 min 7 s left"),
        (
            160,
            "system1 label 1,234/3,700 prompts (33%) 42 s left 4,000 tokens/s | "
            "system2 train 1,234/3,000 steps (41%) 3 min 7 s left loss 1.500",
        ),
    ],
)
def test_two_students_show_how_far_they_are_where_all_does_not_fit(
    columns: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("qdl_engine.cli.progress._REDRAW_SECONDS", 0.0)
    screen = Terminal()
    progress = ProgressLine(screen)
    asking = Progress(stage="label", done=1234, total=3700, unit="prompts", tokens_per_second=4000.0)
    progress(replace(asking, eta_seconds=42, system="system1"))
    progress(Metrics(step=1234, total_steps=3000, loss=1.5, eta_seconds=187, system="system2"))
    assert screen.getvalue().rsplit("\x1b[K", 1)[1] == line


def test_duration() -> None:
    assert [duration(value) for value in (0, 0.3, 4.4, 59.6, 187, 7500)] == [
        "0 s",
        "<1 s",
        "4 s",
        "1 min 0 s",
        "3 min 7 s",
        "2 h 5 min",
    ]
