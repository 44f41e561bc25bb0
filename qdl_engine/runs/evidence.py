"""How a run ended, by evidence: exit codes alone have told us of success with nothing to show for it."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qdl_engine.core.events import Failed, Finished, Outcome, Stopped, from_json
from qdl_engine.core.words import last_line, printable

STOPPED_EXIT_CODE = 3
"""The built-in runtime's exit code after a checkpoint written on request."""

Terminal = Finished | Stopped | Failed | Outcome
"""The events that end a job."""

_TAIL_BYTES = 256 * 1024
# File systems stamp with a coarser clock than `time.time()`.
_CLOCK_SLACK = 1.0


@dataclass(frozen=True)
class Verdict:
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
        exit_code: As the supervisor saw it (negative: a signal), None when it was not there to see.
        started: When this attempt began; older evidence belongs to an earlier one.
        events_file: Where the run wrote its events.
        log_file: Where its output went; the last line helps when there is nothing better.
        output_dir: Where a checkpoint must be, None for a run that makes none.
        stop_requested: Whether somebody asked it to stop.
    """
    last = last_terminal_event(events_file, since=started)
    if exit_code == STOPPED_EXIT_CODE or (isinstance(last, Stopped) and exit_code != 0):
        where = ""
        if isinstance(last, Stopped) and last.step and last.path:
            where = f" at step {last.step}, with a checkpoint to resume from"
        return Verdict("stopped", f"Stopped on request{where}.")
    ended_well = exit_code == 0 or (exit_code is None and isinstance(last, Finished | Outcome))
    if ended_well:
        problem = "" if output_dir is None else checkpoint_problem(output_dir, since=started)
        if not problem:
            return Verdict("done", _said_at_the_end(last))
        if not stop_requested:
            message = f"It ended without an error, but there is no new checkpoint: {problem}"
            return Verdict("failed", message, f"Its output is in {log_file}")
    if stop_requested:
        return Verdict("stopped", "Stopped on request.")
    if isinstance(last, Failed):
        message = printable(last.message or "It failed without an error message.")
        return Verdict("failed", message, printable(last.hint or f"Its output is in {log_file}"))
    if exit_code is None:
        return Verdict("lost", "Its process is gone and left no result.", f"Its last output is in {log_file}")
    return _from_exit_code(exit_code, log_file)


def _said_at_the_end(last: Terminal | None) -> str:
    if isinstance(last, Outcome):
        return printable(last.message)
    if isinstance(last, Finished) and last.warnings:
        return printable(f"Done, with warnings: {'; '.join(last.warnings)}")
    return ""


def _from_exit_code(exit_code: int, log_file: Path) -> Verdict:
    hint = f"Its output is in {log_file}"
    if exit_code < 0:
        name = (
            signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
        )
        if name == "SIGKILL":
            hint = f"The system may have run out of memory: lower batch_size or max_length. {hint}"
        return Verdict("failed", f"It was killed by {name}.", hint)
    words = printable(last_line(log_file))
    return Verdict("failed", f"It ended with exit code {exit_code}" + (f": {words}" if words else "."), hint)


def last_terminal_event(events_file: Path, *, since: float) -> Terminal | None:
    """The last event of this attempt that says how it ended, read from the file's end."""
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
    """Why `directory` holds no whole checkpoint (newer than `since`), or an empty string when it does.

    Only headers are read, so this costs the same for any model.
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
            return f"{missing[0]} is missing in {directory}"
    for path in weights:
        problem = _safetensors_problem(path)
        if problem:
            return problem
    if since is not None and max(path.stat().st_mtime for path in weights) < since - _CLOCK_SLACK:
        return f"the one in {directory} is older than the run"
    return ""


def _safetensors_problem(path: Path) -> str:
    """A file cut short has a header that promises more bytes than there are."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= min(size, 100_000_000):
            return f"{path} is no safetensors file"
        try:
            header = json.loads(handle.read(length))
            ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{path} is no safetensors file"
    return "" if size == 8 + length + max(ends, default=0) else f"{path} is cut short"
