"""EasyDistill 2.x started shard by shard: it writes nothing before a whole file is done, and cannot resume.

A shard is worked on in a folder of its own, which gets its lasting name when its rows were counted. So
whatever ends the work loses the shard under way and no other, and what still runs cannot write into a
finished one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.data.files import whole_file
from qdl_engine.easydistill.version2.configs import DOLLAR, ShardFiles, Wish, input_row, shard_config
from qdl_engine.easydistill.version2.find import Version2, clean_environment
from qdl_engine.easydistill.version2.harvest import Harvest, dump_row, harvest
from qdl_engine.errors import DataError, RunError
from qdl_engine.events import EventSink, make_event, no_sink
from qdl_engine.lab import Lab, write_json_atomic
from qdl_engine.teachers.address import Secret, is_local
from qdl_engine.text import one_line, two_columns

Question = tuple[str, str]
"""What is asked, and the answer to compare with, which may be empty."""

_PROBLEM = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*|.* - ERROR - (.*)$")


@dataclass(frozen=True)
class ShardReport:
    """What became of the rows of a job."""

    job: str
    requested: int
    answered: int
    written: int
    counts: dict[str, int]
    shards: int
    reused: int
    """Shards that an earlier start had finished."""
    seconds: float
    output: str
    lost: list[int] = field(default_factory=list)
    """Rows without an answer, by their place in the input, from 0; the first few."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """The report as lines for a terminal."""
        lines = [("requested", f"{self.requested:,}"), ("answered", f"{self.answered:,}")]
        lines += [(name, f"{count:,}") for name, count in self.counts.items() if count]
        lines += [("written", f"{self.written:,}")]
        lines += [("shards", f"{self.shards:,}"), ("already done", f"{self.reused:,}")]
        lines += [("seconds", f"{self.seconds:,.0f}")]
        return f"{two_columns(lines)}\n{self.output}"


def run_shards(
    lab: Lab,
    installation: Version2,
    wish: Wish,
    questions: Sequence[Question],
    *,
    key: Secret,
    output: Path,
    shard_rows: int,
    on_event: EventSink = no_sink,
) -> ShardReport:
    """Let EasyDistill 2.x do a job on every question; go on where an earlier start of the same job ended.

    Args:
        lab: Keeps the shards; its writer's lock is held.
        installation: What is started.
        wish: The job.
        questions: In the order in which their rows come out.
        key: Of the server; it reaches 2.x by the environment alone.
        output: JSON Lines, written whole at the end.
        shard_rows: Questions in a shard: what an interruption costs at most.
        on_event: Takes the progress.

    Raises:
        RunError: when a shard ends without an answer to any of its rows, whatever its exit code.
        DataError: when no row came out.
        SettingsError: for a setting that 2.x would turn into nothing.
    """
    wish.check()
    started = time.perf_counter()
    with lab.writer_lock(wish.job):
        home = shards_home(lab, wish, questions, shard_rows)
        shards = [questions[start : start + shard_rows] for start in range(0, len(questions), shard_rows)]
        work = _Work(installation, wish, key, home, on_event)
        found = []
        for number, shard in enumerate(shards):
            found.append(work.shard(number, shard, number * shard_rows))
            done = min(len(questions), (number + 1) * shard_rows)
            on_event(make_event("progress", stage=wish.job, done=done, total=len(questions), unit="rows"))
        report = _report(wish, found, work.reused, output, time.perf_counter() - started)
        if not report.written:
            counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
            raise DataError(f"{wish.job} gave no rows", f"Of {report.answered} answers: {counts}.")
        with whole_file(output) as handle:
            for part in found:
                handle.writelines(dump_row(row) for row in part.rows)
    return report


def shards_home(lab: Lab, wish: Wish, questions: Sequence[Question], shard_rows: int) -> Path:
    """The folder of a job's shards, each finished one in a `shard-*` of its own."""
    return lab.shards / f"{wish.job}-{_digest(wish, questions, shard_rows)}"


def _digest(wish: Wish, questions: Sequence[Question], shard_rows: int) -> str:
    """Names the work by all that decides its rows: the same again goes on, anything else begins anew."""
    parts = [wish.to_dict(), list(questions), shard_rows]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _report(wish: Wish, found: list[Harvest], reused: int, output: Path, seconds: float) -> ShardReport:
    counts: Counter[str] = Counter()
    for part in found:
        counts.update(part.counts)
    return ShardReport(
        job=wish.job,
        requested=sum(part.requested for part in found),
        answered=sum(part.answered for part in found),
        written=sum(len(part.rows) for part in found),
        counts=dict(counts),
        shards=len(found),
        reused=reused,
        seconds=seconds,
        output=str(output),
        lost=[] if wish.job == "dpo_data_build" else _lost(found),
    )


def _lost(found: list[Harvest], limit: int = 20) -> list[int]:
    lost: list[int] = []
    start = 0
    for part in found:
        there = {int(row["id"]) for row in part.rows}
        lost += [place for place in range(start, start + part.requested) if place not in there]
        start += part.requested
    return lost[:limit]


@dataclass
class _Work:
    """One start of a job."""

    installation: Version2
    wish: Wish
    key: Secret
    home: Path
    on_event: EventSink
    reused: int = 0

    def shard(self, number: int, questions: Sequence[Question], start: int) -> Harvest:
        """The rows of one shard, from its folder, or made now."""
        folder = self.home / f"shard-{number:05}"
        if folder.is_dir():
            self.reused += 1
            return harvest(self.wish, ShardFiles(folder))
        self.home.mkdir(parents=True, exist_ok=True)
        for stale in self.home.glob(f".{folder.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        working = Path(tempfile.mkdtemp(dir=self.home, prefix=f".{folder.name}."))
        files = ShardFiles(working)
        rows = (input_row(self.wish, start + at, *question) for at, question in enumerate(questions))
        files.input.write_text("".join(map(dump_row, rows)), encoding="utf-8")
        write_json_atomic(files.config, shard_config(self.wish, files))
        exit_code = self._start(files)
        made = harvest(self.wish, files)
        if exit_code or not made.answered:
            raise self._failed(files, number, made, exit_code)
        if made.answered < made.requested:
            lost = made.requested - made.answered
            message = f"Shard {number}: {lost} of {made.requested} rows have no answer"
            self.on_event(make_event("note", message=message))
        os.rename(working, folder)
        return made

    def _start(self, files: ShardFiles) -> int:
        """Run EasyDistill, its output into ours and into the shard's log."""
        environment = clean_environment() | {"OPENAI_API_KEY": self.key.value or "EMPTY", DOLLAR: "$"}
        if is_local(self.wish.url):
            environment |= {"NO_PROXY": "127.0.0.1,localhost,::1", "no_proxy": "127.0.0.1,localhost,::1"}
        process = subprocess.Popen(
            self.installation.command(files.config),
            cwd=self.installation.checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            assert process.stdout is not None
            with open(files.log, "wb") as log:
                while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
                    masked = self.key.mask(piece.decode("utf-8", errors="replace"))
                    log.write(masked.encode())
                    sys.stderr.write(masked)
                    sys.stderr.flush()
            return process.wait()
        finally:
            process.kill()
            process.wait()

    def _failed(self, files: ShardFiles, number: int, made: Harvest, exit_code: int) -> RunError:
        said = _last_problem(files.log)
        how = f"exit code {exit_code}" if exit_code else "exit code 0, and no answer to any row"
        return RunError(
            f"EasyDistill 2.x failed on shard {number} ({how}){': ' + said if said else ''}",
            f"All it said is in {files.log}. The shards before it are kept: start the same job again.",
        )


def _last_problem(log: Path) -> str:
    """The last error that a log tells of, from its last lines."""
    text = log.read_bytes()[-65536:].decode("utf-8", errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    for line in reversed(lines):
        if found := _PROBLEM.match(line):
            return one_line(found[1] or line, 300)
    return ""
