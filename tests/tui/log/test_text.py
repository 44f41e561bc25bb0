"""What a log line may do to the terminal: nothing but colour."""

from __future__ import annotations

import re

import pytest
from rich.style import Style

from qdl_tui.log.text import CELLS, clean, fold, line_text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b[2Jwipe", "␛[2Jwipe"),
        (b"\x1b]0;title\x07", "␛]0;title␇"),
        (b"\x1b]52;c;aGk=\x1b\\", "␛]52;c;aGk=␛\\"),
        (b"\x9b2J", "\\x9b2J"),
        ("\x9b2J".encode(), "\\x9b2J"),
        ("a\u202eb".encode(), "a\\u202eb"),
        ("a\u2028b".encode(), "a\\u2028b"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\x1b[" + b"9" * 5000 + b"m", "␛[" + "9" * 5000 + "m"),
        ("损失 0.5".encode(), "损失 0.5"),
        (b"a\tb", "a       b"),
        (b"a\x00b\x7f", "a␀b␡"),
        (b"[bold]not markup[/]", "[bold]not markup[/]"),
    ],
)
def test_controls_are_shown_and_never_obeyed(raw: bytes, shown: str) -> None:
    text = line_text(raw).plain
    assert text.removesuffix("…") == shown.removesuffix("…")[: len(text.removesuffix("…"))]
    assert len(text) >= min(len(shown), CELLS)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", text)


def test_every_byte_is_safe() -> None:
    for first in (b"", b"\x1b", b"\x1b[", b"\x1b]", b"\xc2"):
        for byte in range(256):
            text = line_text(first + bytes([byte]) + b"m;1").plain
            assert not re.search("[\x00-\x1f\x7f-\x9f]", text), (first, byte)


def test_colours_survive_and_a_cut_sequence_does_not_leak() -> None:
    text = line_text(b"\x1b[1;38;5;208mhot\x1b[0m cold")
    assert text.plain == "hot cold"
    assert str(text.spans[0].style) == "bold color(208)"
    assert "\x1b" not in line_text(b"x" * 15_998 + b"\x1b[31mred").plain


def test_progress_is_folded_to_its_last_state() -> None:
    assert fold(b"\r 1%\r 50%\r100%") == b"100%"
    assert fold(b"\r 1%\r 50%\r") == b" 50%"
    assert fold(b"windows\r\n") == b"windows"
    assert fold(b"plain") == b"plain"
    assert line_text(b"\r 1%|x|\r 2%|xx|").plain == " 2%|xx|"


def test_long_and_wide_lines_are_cut_at_the_cells_shown() -> None:
    assert line_text("宽".encode() * 8000).cell_len <= CELLS
    assert line_text(b"x" * 1_000_000).plain == "x" * (CELLS - 1) + "…"
    assert line_text(b"x" * CELLS).plain == "x" * CELLS


def test_matches_are_marked() -> None:
    text = line_text(b"an \x1b[32merror\x1b[0m here", re.compile("error here"), Style(reverse=True))
    assert [(span.start, span.end) for span in text.spans if span.style == Style(reverse=True)] == [(3, 13)]
    assert clean(b"ok") == "ok"
