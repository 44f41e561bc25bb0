"""How a training of EasyDistill 1.x ended, by evidence. Its exit codes and its own verdict both lie.

It exits with 0 after "Training job terminated", and its command line calls a run failed for the word "error"
in a file's name. What counts is the last line of a training that went to its end, and a new checkpoint.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qdl_engine.easydistill.version1.output import TERMINATED, plain_line
from qdl_engine.runs.evidence import checkpoint_problem
from qdl_engine.text import printable

_FINISHED = re.compile(r"\{'train_runtime': ")
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Iteration|Warning)\b.*)")
_LAUNCHERS = ("subprocess.CalledProcessError", "torch.distributed.elastic")
_KILLED = re.compile(r"died with <Signals\.(\w+)")
_RETURN_CODE = re.compile(r"Command failed \(returncode=(-?\d+)")
_NO_MEMORY = re.compile(r"out of memory|OutOfMemoryError|can't allocate memory|std::bad_alloc", re.IGNORECASE)
_SUSPICIOUS = ("Error processing sample", "Mismatch between tokenized prompt", "Detected error in output")
_WARNINGS_SHOWN = 3
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class Outcome:
    """What the output and the files say."""

    problem: str = ""
    """Why it failed; empty for a success."""
    hint: str = ""
    warnings: tuple[str, ...] = ()
    """What a success complained of, each once."""


def judge_training(log: Path, exit_code: int, output_dir: Path, *, since: float) -> Outcome:
    """Judge a training that ended.

    Args:
        log: All that it printed, and nothing of an earlier one.
        exit_code: Of its launcher; negative for a signal.
        output_dir: Where its checkpoint must be.
        since: When it was started; an older checkpoint proves nothing.
    """
    seen = _Scan()
    for line in _lines(log):
        seen.take(line)
    where = f"All it said is in {log}"
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
            f"EasyDistill ended without an error, but not at the end of its training: {seen.last}", where
        )
    if problem := checkpoint_problem(output_dir, since=since):
        return Outcome(f"EasyDistill trained to the end, but there is no new checkpoint: {problem}", where)
    return Outcome(warnings=seen.warnings())


class _Scan:
    """What stands in the output, line by line."""

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
                # Each is printed again as a "Detected error in output".
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
        return (*shown, f"and {more:,} more of its kind") if more else tuple(shown)


def _lines(log: Path) -> Iterator[str]:
    """Lines without clock, level and bars' ends; a progress bar's every drawing is one."""
    with open(log, encoding="utf-8", errors="replace", newline="") as handle:
        for whole in handle:
            for part in whole.split("\r"):
                line = printable(plain_line(part[:_LONGEST_LINE].rstrip("\n")))
                if line.strip():
                    yield line
