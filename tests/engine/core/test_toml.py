"""Broken TOML: the line, what stands on it, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.toml import read_toml
from qdl_engine.lab_state.status import lab_status


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("x = = 1\n", "line 1: x = = 1  (invalid value at column 5)", "text in quotes"),
        ("[system1]\nstudent = Qwen/x\n", "line 2: student = Qwen/x", "text in quotes"),
        ("rows 5\n", "line 1: rows 5", "key = value"),
        ("[system1\nrows = 1\n", "line 1: [system1", "brackets"),
        ("a = 1\na = 2\n", "line 2: a = 2", "twice"),
        ("[a]\n[a]\n", "line 2: [a]", "has this table"),
        ('a = "x\nb = 1\n', 'line 1: a = "x  (unclosed text', "quote"),
        ("a = [1,\n", "it ends in the middle of a value", "Close"),
        ("a = 1 b = 2\n", "line 1: a = 1 b = 2", "nothing after its value"),
        ("\x1b[2J = 1\n", "line 1: ␛[2J = 1", ""),
    ],
)
def test_the_line_is_shown_with_what_belongs_there(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    path = tmp_path / "qdl.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_toml(path)
    assert caught.value.message.startswith(f"{path}: not valid TOML")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_status_names_the_line_too(tmp_path: Path) -> None:
    (tmp_path / "qdl.toml").write_text("x = = 1\n", encoding="utf-8")
    (problem,) = lab_status(Lab.at(tmp_path)).problems
    assert "line 1: x = = 1" in problem
