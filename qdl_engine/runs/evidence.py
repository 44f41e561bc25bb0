"""How a run ended, judged from its exit code, its events and its checkpoint.

The exit code alone is not enough: programs have exited with 0 and left no checkpoint.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qdl_engine.core.events import Failed, Finished, Outcome, Stopped, from_json
from qdl_engine.core.words import last_line, printable

STOPPED_EXIT_CODE = 3
"""The built-in runtime's exit code after it saved a checkpoint and stopped on request."""

STOPPED = "Stopped on request."

Terminal = Finished | Stopped | Failed | Outcome
"""The events that end a job."""

_TAIL_BYTES = 256 * 1024
# File systems have a coarser clock than `time.time()`.
_CLOCK_SLACK = 1.0


@dataclass(frozen=True)
class Verdict:
    """How a run ended, by what it left on disk."""

    state: Literal["done", "failed", "stopped", "lost"]
    message: str = ""
    hint: str = ""


def decide(
    *,
    exit_code: int | None,
    started: float,
    events_file: Path,
    log_file: Path,
    output_dir: Path | None,
    stop_requested: bool,
) -> Verdict:
    """Judge an ended run.

    Args:
        exit_code: What the supervisor got (negative: a signal); None when no supervisor lived to see it.
        started: When this attempt started; older evidence belongs to an earlier attempt.
        events_file: The run's events.
        log_file: The run's output; its last line explains a failure that no event explains.
        output_dir: Where the run must leave a checkpoint; None for a run that makes none.
        stop_requested: Whether the user stopped the run.
    """
    last = last_terminal_event(events_file, since=started)
    output = f"Output: {log_file}"
    if exit_code == STOPPED_EXIT_CODE or (isinstance(last, Stopped) and exit_code != 0):
        if isinstance(last, Stopped) and last.step and last.path:
            return Verdict("stopped", f"Stopped at step {last.step}; checkpoint saved.")
        return Verdict("stopped", STOPPED)
    ended_well = exit_code == 0 or (exit_code is None and isinstance(last, Finished | Outcome))
    if ended_well:
        problem = "" if output_dir is None else checkpoint_problem(output_dir, since=started)
        if not problem:
            return Verdict("done", _closing_message(last))
        if not stop_requested:
            return Verdict(
                "failed", f"Exited without an error but saved no new checkpoint: {problem}", output
            )
    if stop_requested:
        return Verdict("stopped", STOPPED)
    if isinstance(last, Failed):
        message = printable(last.message or "The run failed without an error message.")
        return Verdict("failed", message, printable(last.hint or output))
    if exit_code is None:
        return Verdict("lost", "The process disappeared without a result.", output)
    return _from_exit_code(exit_code, log_file, output)


def _closing_message(last: Terminal | None) -> str:
    if isinstance(last, Outcome):
        return printable(last.message)
    if isinstance(last, Finished) and last.warnings:
        return printable(f"Done, with warnings: {'; '.join(last.warnings)}")
    return ""


def _from_exit_code(exit_code: int, log_file: Path, output: str) -> Verdict:
    if exit_code < 0:
        name = (
            signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
        )
        if name == "SIGKILL":
            output = f"The system may have run out of memory: lower batch_size or max_length. {output}"
        return Verdict("failed", f"Killed by {name}.", output)
    words = printable(last_line(log_file))
    return Verdict("failed", f"Exit code {exit_code}" + (f": {words}" if words else "."), output)


def last_terminal_event(events_file: Path, *, since: float) -> Terminal | None:
    """The event that ended this attempt, searched from the end of the file."""
    try:
        with open(events_file, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - _TAIL_BYTES))
            lines = handle.read().split(b"\n")
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        event = from_json(line) if line else None
        if isinstance(event, Terminal):
            return event if event.time >= since - _CLOCK_SLACK else None
    return None


def checkpoint_problem(directory: Path, *, since: float | None = None) -> str:
    """What is wrong with the checkpoint in `directory`; empty when it is complete (and newer than `since`).

    This reads headers only, so a large model costs no more than a small one.
    """
    if not (directory / "config.json").is_file():
        return f"no config.json in {directory}"
    weights = sorted(directory.glob("model*.safetensors"))
    if not weights:
        return f"no model*.safetensors in {directory}"
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return f"{index} cannot be read"
        missing = sorted(named - {path.name for path in weights})
        if missing:
            return f"{missing[0]} is missing from {directory}"
    for path in weights:
        problem = _safetensors_problem(path)
        if problem:
            return problem
    if since is not None and max(path.stat().st_mtime for path in weights) < since - _CLOCK_SLACK:
        return f"the checkpoint in {directory} is older than the run"
    return ""


def _safetensors_problem(path: Path) -> str:
    """A truncated file is shorter than its header says."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= min(size, 100_000_000):
            return f"{path} is not a safetensors file"
        try:
            header = json.loads(handle.read(length))
            ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{path} is not a safetensors file"
    return "" if size == 8 + length + max(ends, default=0) else f"{path} is truncated"
