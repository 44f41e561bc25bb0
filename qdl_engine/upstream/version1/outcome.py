"""The output of EasyDistill 1.x, read as events while it trains, and judged when it ended.

Its training prints the bars of tqdm and, every `logging_steps`, a dict without a step::

      5%|5         | 1/20 [00:00<00:05,  3.52it/s]
    {'loss': 5.6426, 'grad_norm': 2.78, 'learning_rate': 0.0, 'epoch': 0.1}

tqdm draws its bar again right after such a line, so the step is that of the next bar. Its command line puts a
clock and a level before each line, twice when the child logs too, and makes each drawing of a bar a line.

How it ended is judged by evidence, because its exit codes and its own verdict are both wrong: it exits with 0
after "Training job terminated", and its command line calls a run failed for the word "error" in a file's
name. What counts is the last line of a complete training, and a new checkpoint.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdl_engine.core.events import Event, Metrics, Started, as_number
from qdl_engine.core.words import printable
from qdl_engine.runs.evidence import checkpoint_problem

TERMINATED = "Training job terminated"
"""What it prints before it gives up and exits with 0."""

_PREFIX = re.compile(r"(?:\s*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+ - [A-Z]+ - |\[rank\d+\]:\s?)+")
# Bars of loading and tokenising have a name before their share, or do not count iterations.
_BAR = re.compile(r"\s*\d+%\|[^|]*\|\s*(\d+)/(\d+) \[(?:[^\]<]*)<([\d:?]+),[^\]]*(?:it/s|s/it)")
_METRICS = re.compile(r"\{'(?:loss|train_runtime)': [^}]*\}")
_ITEM = re.compile(r"'(\w+)': '?([-+.\w]+)'?")
_TAKEN = ("loss", "grad_norm", "learning_rate", "epoch", "num_tokens")
_LONGEST_LINE = 4096

_FINISHED = re.compile(r"\{'train_runtime': ")
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Iteration|Warning)\b.*)")
_LAUNCHERS = ("subprocess.CalledProcessError", "torch.distributed.elastic")
_KILLED = re.compile(r"died with <Signals\.(\w+)")
_RETURN_CODE = re.compile(r"Command failed \(returncode=(-?\d+)")
_NO_MEMORY = re.compile(r"out of memory|OutOfMemoryError|can't allocate memory|std::bad_alloc", re.IGNORECASE)
_SUSPICIOUS = ("Error processing sample", "Mismatch between tokenized prompt", "Detected error in output")
_WARNINGS_SHOWN = 3


class ConsoleParser:
    """Turns output into events as it comes. Its state is the last bar, and a dict that waits for its step.

    `num_tokens` of a `metrics` event counts from the start of the training.
    """

    def __init__(self) -> None:
        self.step = 0
        self.final: dict[str, float] = {}
        """The figures that it printed at the end of its training."""
        self._total: int | None = None
        self._eta: float | None = None
        self._waiting: dict[str, Any] | None = None

    def feed(self, output: bytes) -> list[Event]:
        """The events in more whole lines."""
        events = []
        for raw in re.split(rb"[\r\n]+", output):
            events += self._line(plain_line(raw[:_LONGEST_LINE].decode("utf-8", errors="replace")))
        return events

    def close(self) -> list[Event]:
        """The event of a last loss that no bar followed."""
        return self._flush()

    def _line(self, line: str) -> list[Event]:
        events = []
        # One line may have both: no newline comes between a bar and a dict.
        if bar := _BAR.match(line):
            events += self._bar(int(bar[1]), int(bar[2]), _seconds(bar[3]))
        if metrics := _METRICS.search(line):
            events += self._flush()
            found = {key: as_number(value) for key, value in _ITEM.findall(metrics[0])}
            values = {key: value for key, value in found.items() if value is not None}
            if "train_runtime" in values:
                self.final = values
            else:
                self._waiting = {key: values[key] for key in _TAKEN if key in values}
                if "num_tokens" in values:
                    self._waiting["num_tokens"] = int(values["num_tokens"])
        return events

    def _bar(self, step: int, total: int, eta: float | None) -> list[Event]:
        events: list[Event] = [] if total == self._total else [Started(total_steps=total)]
        self.step, self._total, self._eta = step, total, eta
        if self._waiting is not None:
            return [*events, *self._flush()]
        return [*events, Metrics(**self._where())]

    def _flush(self) -> list[Event]:
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None else [Metrics(**self._where(), **waiting)]

    def _where(self) -> dict[str, Any]:
        return {"step": self.step, "total_steps": self._total, "eta_seconds": self._eta}


def _seconds(clock: str) -> float | None:
    if "?" in clock:
        return None
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    problem: str = ""
    """Why it failed; empty where it succeeded."""
    hint: str = ""
    warnings: tuple[str, ...] = ()
    """What a successful training complained about, each once."""


def judge_training(log: Path, exit_code: int, output_dir: Path, *, since: float) -> Outcome:
    """Judge a training that ended.

    Args:
        log: Everything that it printed, and nothing of an earlier training.
        exit_code: The launcher's; negative for a signal.
        output_dir: Where its checkpoint must be.
        since: When it started; an older checkpoint proves nothing.
    """
    seen = _Scan()
    for line in _lines(log):
        seen.take(line)
    where = f"Its output: {log}"
    if seen.terminated:
        return Outcome(f"EasyDistill gave up: {seen.terminated}", where)
    code = exit_code or seen.return_code
    if seen.killed or code < 0:
        hint = "The system may have run out of memory: lower batch_size or max_length. "
        return Outcome(f"EasyDistill was killed by {seen.killed or f'signal {-code}'}.", hint + where)
    if code and seen.no_memory:
        hint = "Halve batch_size and double gradient_accumulation, or lower max_length. "
        return Outcome("EasyDistill ran out of memory", hint + where)
    if code:
        said = seen.exception or seen.last
        return Outcome(
            f"EasyDistill failed: {said}" if said else f"EasyDistill ended with exit code {code}", where
        )
    if not seen.finished:
        return Outcome(
            f"EasyDistill stopped without an error before the end of its training: {seen.last}", where
        )
    if problem := checkpoint_problem(output_dir, since=since):
        return Outcome(f"EasyDistill finished training, but left no new checkpoint: {problem}", where)
    return Outcome(warnings=seen.warnings())


class _Scan:
    """Signs of success and failure in the output, collected line by line."""

    def __init__(self) -> None:
        self.terminated = self.exception = self.killed = self.last = ""
        self.return_code = 0
        self.finished = self.no_memory = False
        self._in_traceback = False
        self._complaints: Counter[str] = Counter()

    def take(self, line: str) -> None:
        if TERMINATED in line:
            self.terminated = line.partition(TERMINATED)[2].strip(": ") or "it did not say why"
        if found := _RETURN_CODE.search(line):
            self.return_code = self.return_code or int(found[1])
        if found := _KILLED.search(line):
            self.killed = found[1]
        self.finished |= _FINISHED.search(line) is not None
        self.no_memory |= _NO_MEMORY.search(line) is not None
        self._take_traceback(line)
        for sign in _SUSPICIOUS:
            if sign in line:
                # The command line prints each again, as a "Detected error in output".
                self._complaints[line.rpartition("Detected error in output: ")[2]] += 1
        if "|" not in line:
            self.last = line

    def _take_traceback(self, line: str) -> None:
        if "Traceback (most recent call last)" in line:
            self._in_traceback = True
        elif self._in_traceback and (found := _EXCEPTION.match(line)):
            self._in_traceback = False
            if not found[1].startswith(_LAUNCHERS):
                self.exception = found[1]

    def warnings(self) -> tuple[str, ...]:
        shown = [text for text, _ in self._complaints.most_common(_WARNINGS_SHOWN)]
        more = len(self._complaints) - len(shown)
        return (*shown, f"and {more:,} more like these") if more else tuple(shown)


def _lines(log: Path) -> Iterator[str]:
    """Lines without clock and level; each drawing of a progress bar is one."""
    with open(log, encoding="utf-8", errors="replace", newline="") as handle:
        for whole in handle:
            for part in whole.split("\r"):
                line = printable(plain_line(part[:_LONGEST_LINE].rstrip("\n")))
                if line.strip():
                    yield line


def plain_line(line: str) -> str:
    """A line without the clocks and levels before it."""
    found = _PREFIX.match(line)
    return line[found.end() :] if found else line
