"""The whole job by keys alone, in tmux at 80x24: from an empty directory to a comparison."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdl_engine.compare.comparison import list_comparisons, load_comparison
from qdl_engine.core.lab import Lab
from qdl_engine.models.checkpoint import checkpoint_ready
from tests.e2e.terminal import TmuxPane, app_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]

MINUTES = 60.0
ENTER, ESCAPE, CLEAR, SAVE = "\r", "\x1b", "\x15", "\x13"


def first_step(shown: str) -> str:
    """The row under `Next step`: the one that Enter does."""
    lines = shown.splitlines()
    titles = [number for number, line in enumerate(lines) if line.strip() == "Next step"]
    return lines[titles[0] + 1] if titles else ""


class Keyboard:
    """Opens the app on one lab, again and again, as a person does."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root, self.state = root, state
        self.terminal = self._open()

    def _open(self) -> TmuxPane:
        env = {"XDG_STATE_HOME": str(self.state), "OMP_NUM_THREADS": "1"}
        return TmuxPane(app_command(str(self.root)), self.state, env=env)

    def leave_and_come_back(self) -> None:
        """`q`, then the app again; what was running must still run."""
        self.terminal.press("q")
        assert self.terminal.end() == 0
        self.terminal.close()
        self.terminal = self._open()

    def change(self, screen: str, **changes: str) -> None:
        """Type values into the fields of a recipe, save them, and go back to the lab."""
        self.terminal.press(screen)
        self.terminal.wait_for("as saved")
        for count, (name, value) in enumerate(changes.items(), start=1):
            self.terminal.press(f"/{CLEAR}{name}")
            self.terminal.wait_for(f"only '{name}'")
            self.terminal.press(ENTER)
            self.terminal.press(f"{ENTER}{CLEAR}{value}{ENTER}")
            self.terminal.wait_for(f"{count} changed, not saved")
        self.terminal.press(SAVE)
        self.terminal.press("y")
        self.terminal.wait_for("as saved")
        self.terminal.press("1")

    def do(self, command: str, seconds: float) -> None:
        """Wait until `command` is the next step, and start it."""
        self.terminal.wait_until(lambda shown: command in first_step(shown), seconds)
        self.terminal.press(ENTER)
        self.terminal.wait_until(lambda shown: command not in first_step(shown), 60)

    def train(self, command: str, seconds: float) -> None:
        """As `do`; Enter once more on the screen that says whether it fits."""
        self.terminal.wait_until(lambda shown: command in first_step(shown), seconds)
        self.terminal.press(ENTER)
        self.terminal.wait_until(
            lambda shown: all(text in shown for text in ("✓ Fits", "Train System", "tokens")), 60
        )
        self.terminal.press(ENTER)
        self.terminal.wait_until(
            lambda shown: first_step(shown) != "" and command not in first_step(shown), 60
        )


@pytest.fixture
def keyboard(tmp_path: Path) -> Iterator[Keyboard]:
    root = tmp_path / "lab"
    root.mkdir()
    # Short: the path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="qdl") as state:
        opened = Keyboard(root, Path(state))
        yield opened
        opened.terminal.close()


def test_from_an_empty_directory_to_a_comparison(keyboard: Keyboard) -> None:
    keyboard.terminal.wait_for("How do you want to begin?")
    keyboard.terminal.press("d")
    keyboard.terminal.wait_until(lambda shown: "qdl prepare system1" in first_step(shown), 2 * MINUTES)
    # The demo is tested whole elsewhere, with its figures; here, long enough to leave and come back.
    keyboard.change("2", rows="1500", epochs="6")
    keyboard.change("3", rows="300", epochs="2")

    keyboard.do("qdl prepare system1", 2 * MINUTES)
    keyboard.do("qdl label", 2 * MINUTES)
    keyboard.train("qdl train system1", 10 * MINUTES)
    keyboard.terminal.press("5")
    keyboard.terminal.wait_until(lambda shown: "loss" in shown and "tokens/s" in shown, 5 * MINUTES)
    keyboard.leave_and_come_back()
    keyboard.terminal.wait_until(lambda shown: "train" in first_step(shown) or "system2" in first_step(shown))

    keyboard.do("qdl prepare system2", 15 * MINUTES)
    keyboard.train("qdl train system2", 2 * MINUTES)
    keyboard.do("qdl compare", 15 * MINUTES)

    keyboard.terminal.wait_for("Prompt 1/")
    keyboard.terminal.press(ENTER)
    shown = keyboard.terminal.wait_until(lambda shown: shown.count("tok/s") == 3, 3 * MINUTES)
    assert "done" in shown
    keyboard.terminal.press("q")
    assert keyboard.terminal.end() == 0

    lab = Lab.at(keyboard.root)
    assert checkpoint_ready(lab.system1_checkpoint)
    assert checkpoint_ready(lab.system2_checkpoint)
    comparison = load_comparison(list_comparisons(lab)[0])
    assert sorted(comparison.models) == ["system1", "system2", "teacher"]
