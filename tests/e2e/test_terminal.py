"""The app in a real terminal: it paints, it ends, and it leaves the terminal as it found it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.terminal import REPOSITORY, Terminal, app_command

LEAVES_ALTERNATE_SCREEN = b"\x1b[?1049l"
SHOWS_CURSOR = b"\x1b[?25h"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def terminal(tmp_path: Path, env: dict[str, str]) -> Iterator[Terminal]:
    lab = tmp_path / "lab"
    lab.mkdir()
    opened = Terminal(app_command(str(lab)), env=env)
    yield opened
    opened.close()


def test_q_ends_with_0_and_a_clean_terminal(terminal: Terminal) -> None:
    terminal.wait_for("How do you want to begin?")
    terminal.press("q")
    assert terminal.end() == 0
    assert LEAVES_ALTERNATE_SCREEN in terminal.sent
    assert SHOWS_CURSOR in terminal.sent
    assert terminal.restored()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_leaves_a_clean_terminal_and_says_so_in_the_exit_code(
    terminal: Terminal, number: signal.Signals
) -> None:
    terminal.wait_for("How do you want to begin?")
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert LEAVES_ALTERNATE_SCREEN in terminal.sent
    assert terminal.restored()


BROKEN = """
import sys
from qdl_engine.core.lab import Lab
from qdl_tui.app import QdlApp

def broken(self):
    raise RuntimeError("out of order \\x1b]0;title\\x07")

QdlApp.action_help = broken
app = QdlApp(Lab.at(sys.argv[1]))
app.run()
sys.exit(app.return_code)
"""


def test_a_defect_ends_with_two_lines_and_a_clean_terminal(tmp_path: Path, env: dict[str, str]) -> None:
    terminal = Terminal([sys.executable, "-c", BROKEN, str(tmp_path)], env=env)
    try:
        terminal.wait_for("How do you want to begin?")
        terminal.press("?")
        assert terminal.end() == 1
        assert terminal.restored() and LEAVES_ALTERNATE_SCREEN in terminal.sent
        left = terminal.sent.rpartition(LEAVES_ALTERNATE_SCREEN)[2].decode()
        assert "RuntimeError: out of order ␛]0;title␇" in left
        assert "Traceback" not in left
        assert "Traceback" in (tmp_path / "state" / "qdl" / "qdl-tui.log").read_text(encoding="utf-8")
    finally:
        terminal.close()


def test_no_mouse_leaves_the_mouse_alone(tmp_path: Path, env: dict[str, str]) -> None:
    terminal = Terminal(app_command(str(tmp_path), "--no-mouse"), env=env)
    try:
        terminal.wait_for("How do you want to begin?")
        assert b"\x1b[?1000h" not in terminal.sent
        terminal.press("\x11")
        assert terminal.end() == 0
    finally:
        terminal.close()


def run_piped(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run(
        app_command(*arguments), capture_output=True, text=True, env=env, timeout=60, check=False
    )


def test_without_a_terminal_it_reports_and_names_the_command(tmp_path: Path) -> None:
    result = run_piped(str(tmp_path))
    assert result.returncode == 2
    assert f"No lab at {tmp_path}" in result.stdout
    assert "use qdl here" in result.stderr


def test_a_dumb_terminal_gets_the_plain_report(tmp_path: Path, env: dict[str, str]) -> None:
    terminal = Terminal(app_command(str(tmp_path)), env={**env, "TERM": "dumb"})
    try:
        assert terminal.end() == 2
        assert b"\x1b" not in terminal.sent
        assert b"No lab at" in terminal.sent
    finally:
        terminal.close()


@pytest.mark.parametrize("option", ["--version", "--help", "--paths"])
def test_small_questions_are_answered_without_textual(option: str) -> None:
    code = (
        "import sys, qdl_tui.__main__ as m\n"
        "try: status = m.main([sys.argv[1]])\n"
        "except SystemExit as end: status = end.code\n"
        "loaded = {'textual', 'torch', 'pydantic'} & set(sys.modules)\n"
        "print('LOADED', sorted(loaded), status)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, option],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert result.stdout.splitlines()[-1] == "LOADED [] 0"


def test_the_app_and_every_screen_import_no_model_library() -> None:
    code = (
        "import sys, importlib\n"
        "import qdl_tui.app, qdl_tui.recipe.screen, qdl_tui.compare.screen\n"
        "import qdl_tui.runs.screen, qdl_tui.runs.training, qdl_engine.demo.lab\n"
        "import qdl_engine.settings.toml, qdl_engine.runs.launch\n"
        "heavy = {'torch', 'transformers', 'datasets', 'trl', 'peft', 'accelerate'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert result.stdout.strip() == "[]"


def test_the_first_paint_needs_no_pydantic() -> None:
    code = "import sys, qdl_tui.app; print('pydantic' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert result.stdout.strip() == "False"


COLOURS = {
    "direct": re.compile(rb"[34]8;2;"),
    "256": re.compile(rb"[34]8;5;"),
}


@pytest.mark.parametrize(
    ("environment", "used"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "direct"),
        ({"TERM": "xterm-256color", "COLORTERM": ""}, "256"),
        ({"TERM": "screen-256color", "COLORTERM": ""}, "256"),
        ({"TERM": "linux", "COLORTERM": ""}, ""),
    ],
)
def test_it_paints_in_the_colours_that_the_terminal_has(
    tmp_path: Path, env: dict[str, str], environment: dict[str, str], used: str
) -> None:
    terminal = Terminal(app_command(str(tmp_path)), env={**env, **environment})
    try:
        shown = terminal.wait_for("How do you want to begin?")
        assert "[1 Lab]" in shown
        assert {name for name, pattern in COLOURS.items() if pattern.search(terminal.sent)} == {used} - {""}
    finally:
        terminal.close()


def test_no_color_shows_greys_and_nothing_black_on_black(tmp_path: Path, env: dict[str, str]) -> None:
    terminal = Terminal(app_command(str(tmp_path)), env={**env, "NO_COLOR": "1", "COLORTERM": "truecolor"})
    try:
        terminal.wait_for("How do you want to begin?")
        triples = re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", terminal.sent)
        assert triples and all(red == green == blue for red, green, blue in triples)
        cells = [
            cell for row in terminal.screen.buffer.values() for cell in row.values() if cell.data.strip()
        ]
        assert all(cell.fg != cell.bg for cell in cells)
    finally:
        terminal.close()


CALM = """
import sys
from qdl_tui.__main__ import main

code = main(sys.argv[1:])
from textual import constants

print("animations", constants.TEXTUAL_ANIMATIONS, "smooth", constants.SMOOTH_SCROLL, "fps", constants.MAX_FPS)
sys.exit(code)
"""


@pytest.mark.parametrize("wish", ["", "full"])
def test_over_ssh_nothing_moves_unless_the_user_wants_it(
    tmp_path: Path, env: dict[str, str], wish: str
) -> None:
    over_ssh = {**env, "SSH_CONNECTION": "10.0.0.2 51000 10.0.0.1 22"}
    if wish:
        over_ssh["TEXTUAL_ANIMATIONS"] = wish
    terminal = Terminal([sys.executable, "-c", CALM, str(tmp_path)], env=over_ssh)
    try:
        terminal.wait_for("How do you want to begin?")
        terminal.press("q")
        assert terminal.end() == 0
        assert f"animations {wish or 'none'} smooth False fps 15".encode() in terminal.sent
    finally:
        terminal.close()


def test_a_dropped_link_ends_the_app_and_leaves_no_orphan(terminal: Terminal) -> None:
    terminal.wait_for("How do you want to begin?")
    terminal.press("41" * 20)
    assert terminal.drop() == 128 + signal.SIGHUP
