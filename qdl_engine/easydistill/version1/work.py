"""Where a run keeps what EasyDistill 1.0 reads and writes. Light: runs are listed and resumed without it."""

from __future__ import annotations

from pathlib import Path

NAME = "easydistill"
"""The directory, in that of the run."""
LAUNCH_FILE = "launch.json"
OUTPUT = "output"
"""Where 1.0 writes, until its checkpoint is taken into the lab."""
SESSION = "qdl_engine.easydistill.version1.session"


def is_upstream(run_directory: Path, argv: tuple[str, ...]) -> bool:
    """Whether a run is, or became, a training by EasyDistill 1.0."""
    return SESSION in argv or (run_directory / NAME / LAUNCH_FILE).is_file()


def last_weights(output: Path) -> Path | None:
    """The newest checkpoint that 1.0 left on its way: good to begin a training with, not to resume one."""
    numbers = {
        int(number): path
        for path in output.glob("checkpoint-*")
        if (number := path.name.removeprefix("checkpoint-")).isdigit()
        and (path / "trainer_state.json").is_file()
    }
    return numbers[max(numbers)] if numbers else None
