"""An EasyDistill 2.x that can be started: its checkout, and an interpreter that has what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import user_settings_file
from qdl_engine.settings.user import Version2Record, load_user_settings, save_user_settings
from qdl_engine.upstream.find import HOME

CHECKOUT_VARIABLE = "QDL_EASYDISTILL2_CHECKOUT"
PYTHON_VARIABLE = "QDL_EASYDISTILL2_PYTHON"

STEPS = f"""\
git clone {HOME} easydistill2
python3 -m venv easydistill2/.venv
easydistill2/.venv/bin/pip install ./easydistill2
Then name them: --checkout easydistill2 --python easydistill2/.venv/bin/python
(or set {CHECKOUT_VARIABLE} and {PYTHON_VARIABLE})."""

_PARTS = ("easydistill/cli/__init__.py", "configs/prompts/cot_generation_prompt.txt")


@dataclass(frozen=True)
class Version2:
    """A checkout of EasyDistill 2.x and its interpreter."""

    checkout: Path
    python: str

    def command(self, config: Path) -> list[str]:
        """Started in the checkout, where 2.x looks for its default prompts."""
        return [self.python, "-m", "easydistill.cli", "--config", str(config)]


def find_version2(checkout: str = "", python: str = "") -> Version2:
    """The EasyDistill 2.x that is named: here, else by the environment, else by the user's settings.

    Without an interpreter the checkout's own `.venv` is taken, else the running one.

    Raises:
        SettingsError: when it is not there, is no 2.x, or lacks a module; with the steps to get one.
    """
    known = load_user_settings().easydistill2
    named = checkout or named_checkout()[0]
    if not named:
        raise SettingsError("No EasyDistill 2.x is named", STEPS)
    root = Path(named).expanduser().absolute()
    missing = next((part for part in _PARTS if not (root / part).is_file()), "")
    if missing:
        raise SettingsError(f"No checkout of EasyDistill 2.x at {root}: it has no {missing}", STEPS)
    own = root / ".venv" / "bin" / "python"
    remembered = known.python if str(root) == known.checkout else ""
    program = python or os.environ.get(PYTHON_VARIABLE, "") or remembered
    program = program or (str(own) if own.is_file() else sys.executable)
    found = Version2(root, str(Path(program).expanduser().absolute()))
    _prove(found)
    return found


def named_checkout() -> tuple[str, str]:
    """The checkout that is taken when none is named here, and in words where it is named; empty without one.

    Raises:
        SettingsError: when the user's settings cannot be read.
    """
    if checkout := os.environ.get(CHECKOUT_VARIABLE, ""):
        return checkout, f"named by {CHECKOUT_VARIABLE}"
    checkout = load_user_settings().easydistill2.checkout
    return checkout, f"recorded in {user_settings_file()}" if checkout else ""


def remember(found: Version2) -> None:
    """Let the user's settings name it, so that it need not be named again."""
    settings = load_user_settings()
    record = Version2Record(python=found.python, checkout=str(found.checkout))
    if record != settings.easydistill2:
        save_user_settings(settings.model_copy(update={"easydistill2": record}))


def _prove(found: Version2) -> None:
    try:
        shown = subprocess.run(
            [found.python, "-c", "import easydistill.cli.main, openai"],
            cwd=found.checkout,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as cause:
        raise SettingsError(f"Cannot start {found.python}: {cause}", STEPS) from cause
    if shown.returncode:
        why = (shown.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise SettingsError(f"{found.python} cannot import EasyDistill 2.x: {why}", STEPS)


def clean_environment() -> dict[str, str]:
    """Ours without what would let it import our modules, or keep it from importing its own."""
    return {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")
    } | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
