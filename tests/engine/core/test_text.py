"""Control characters are shown, never obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.words import last_line, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[2J\x07", "␛[2J␇"),
        ("a\r\nb\rc", "a\nb␍c"),
        ("\x9b31m\x7f", "\\x9b31m␡"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("日本 é 👩\u200d🔬", "日本 é 👩\u200d🔬"),
        ("\udc80", "\\udc80"),
        ("\u2028", "\\u2028"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_one_line() -> None:
    assert one_line("a\n  b\x1b", 80) == "a b␛"
    assert one_line("abcdef", 4) == "abc…"


def test_last_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_line(path) == ""
    path.write_bytes(b"one\n 10%\r 20%\r\n\n  \n")
    assert last_line(path) == "20%"
