"""Copying: each way that applies is taken, and the sentence names it."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from qdl_tui.shared.clipboard import OSC52_LIMIT, copy, osc52
from qdl_tui.shared.state import copied_file
from tests.tui.conftest import opened
from tests.tui.screen import settled


@pytest.fixture(autouse=True)
def no_multiplexer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)


@pytest.fixture
def tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A tmux server of its own, and the environment of a shell inside it."""
    program = shutil.which("tmux")
    if program is None:
        pytest.skip("no tmux here")
    socket = tmp_path / "tmux.socket"
    command = [program, "-S", str(socket), "-f", "/dev/null"]
    subprocess.run([*command, "new-session", "-d", "-s", "test", "cat"], check=True)
    monkeypatch.setenv("TMUX", f"{socket},1,0")
    yield command
    subprocess.run([*command, "kill-server"], check=True)


def test_the_terminal_and_the_file_get_it() -> None:
    copied = copy("schöne\nneue")
    sequence = base64.b64encode("schöne\nneue".encode()).decode()
    assert copied.sequence == f"\x1b]52;c;{sequence}\x07"
    assert copied_file().read_text(encoding="utf-8") == "schöne\nneue\n"
    assert copied.sentence() == f"Copied 2 lines: clipboard of the terminal (OSC 52), file {copied_file()}"


def test_the_file_is_for_its_owner_alone() -> None:
    copy("a secret of the data")
    assert copied_file().stat().st_mode & 0o777 == 0o600


def test_tmux_gets_it_in_a_buffer(tmux: list[str]) -> None:
    copied = copy("run 0001")
    shown = subprocess.run([*tmux, "show-buffer"], check=True, capture_output=True, text=True)
    assert shown.stdout == "run 0001"
    assert copied.sequence == ""
    assert copied.sentence("the run id").startswith("Copied the run id: tmux buffer, file ")


def test_a_tmux_that_does_not_answer_is_passed_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMUX", f"{tmp_path / 'gone'},1,0")
    copied = copy("run 0001")
    assert copied.sequence.startswith("\x1bPtmux;\x1b\x1b]52;c;")
    assert copied.sequence.endswith("\x07\x1b\\")


def test_screen_passes_it_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STY", "1.pts-0")
    assert osc52("a") == "\x1bP\x1b]52;c;YQ==\x07\x1b\\"


def test_what_a_terminal_would_cut_goes_to_the_file_alone() -> None:
    text = "x" * OSC52_LIMIT
    copied = copy(text)
    assert copied.sequence == ""
    assert len(copied.places) == 1
    assert copied_file().read_text(encoding="utf-8") == f"{text}\n"


def test_no_control_character_reaches_a_shell_by_pasting() -> None:
    assert copy("ls\x1b[201~\rrm -r\x07\tx\ny").text == "ls␛[201~␍rm -r␇\tx\ny"


def test_without_any_place_it_says_so(monkeypatch: pytest.MonkeyPatch, own_state: Path) -> None:
    (own_state / "qdl").write_text("a file where the directory should be", encoding="utf-8")
    assert "Could not copy" in copy("x" * OSC52_LIMIT).sentence()


async def test_the_app_says_where_it_went(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        app.copy_to_clipboard("0001-train", "the run id")
        await settled(app, pilot)
        said = [item.message for item in app._notifications]
        assert said[0].startswith("Copied the run id: ")
        assert app.clipboard == "0001-train"
