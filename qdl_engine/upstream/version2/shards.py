"""EasyDistill 2.x started shard by shard: it writes nothing before a whole file is done, and cannot resume.

A shard is worked on in a folder of its own, which gets its lasting name when its rows were counted. So
whatever ends the work loses the shard under way and no other, and what still runs cannot write into a
finished one.

Rows that a finished shard has no answer to are asked once more, in a shard of their own, by every start: what
that one answers is kept like any other shard, and it spoils nothing when it fails.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qdl_engine.core.errors import DataError, RunError
from qdl_engine.core.events import EventSink, Note, Progress, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.words import is_unicode, one_line
from qdl_engine.data.files import whole_file
from qdl_engine.settings.address import Masking, Secret, is_local
from qdl_engine.upstream.version2.configs import DOLLAR, ShardFiles, Wish, input_row, shard_config
from qdl_engine.upstream.version2.find import Version2, clean_environment
from qdl_engine.upstream.version2.harvest import Harvest, Row, dump_row, harvest
from qdl_engine.upstream.version2.report import NAMED, Question, ShardReport, shard_report, still_lost

_PROBLEM = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*|.* - ERROR - (.*)$")


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
        output: JSON Lines, written whole at the end, with a report beside it as `<its name>_report.json`.
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
        questions, left_out = _sendable(questions, on_event)
        shards = [questions[start : start + shard_rows] for start in range(0, len(questions), shard_rows)]
        work = _Work(installation, wish, key, home, on_event)
        found = []
        for number, shard in enumerate(shards):
            found.append(work.shard(number, shard, number * shard_rows))
            done = min(len(questions), (number + 1) * shard_rows)
            on_event(Progress(stage=wish.job, done=done, total=len(questions), unit="rows"))
        again = work.lost_ones(questions, found, shard_rows)
        report = shard_report(
            wish.job,
            questions,
            found,
            again,
            left_out=left_out,
            reused=work.reused,
            seconds=time.perf_counter() - started,
            output=output,
        )
        if not report.written:
            counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
            raise DataError(f"{wish.job} gave no rows", f"Of {report.answered} answers: {counts}.")
        with whole_file(output) as handle:
            handle.writelines(map(dump_row, _in_order([*found, *again])))
        write_json_atomic(output.with_name(f"{output.stem}_report.json"), report.to_dict())
    return report


def shards_home(lab: Lab, wish: Wish, questions: Sequence[Question], shard_rows: int) -> Path:
    """The folder of a job's shards, each finished one in a `shard-*` of its own."""
    return lab.shards / f"{wish.job}-{_digest(wish, questions, shard_rows)}"


def _digest(wish: Wish, questions: Sequence[Question], shard_rows: int) -> str:
    """Names the work by all that decides its rows: the same again goes on, anything else begins anew."""
    parts = [wish.to_dict(), list(questions), shard_rows]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _sendable(questions: Sequence[Question], on_event: EventSink) -> tuple[list[Question], int]:
    """The questions that can be sent, and how many cannot: one that 2.x cannot write would fail its shard."""
    kept, broken = [], []
    for place, question in enumerate(questions, 1):
        if is_unicode("".join(question)):
            kept.append(question)
        else:
            broken.append(f"{place} ({one_line(question[0], 40)})")
    if broken:
        named = ", ".join(broken[:NAMED]) + (", ..." if len(broken) > NAMED else "")
        on_event(Note(f"Left out, not valid Unicode: {len(broken):,}: {named}"))
    return kept, len(broken)


def _in_order(found: list[Harvest]) -> list[Row]:
    return sorted((row for part in found for row in part.rows), key=lambda row: int(row["id"]))


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
        files = self._begin(folder, range(start, start + len(questions)), questions)
        exit_code = self._start(files)
        made = harvest(self.wish, files)
        if (exit_code or not made.answered) and not _unwritable(files.log):
            raise self._failed(files, number, exit_code)
        if made.answered < made.requested:
            self._note(f"Shard {number}: {len(made.lost)} of {made.requested} rows have no answer")
        os.rename(files.folder, folder)
        return made

    def lost_ones(
        self, questions: Sequence[Question], found: list[Harvest], shard_rows: int
    ) -> list[Harvest]:
        """What earlier starts got by asking again for rows without an answer, and what asking now gets."""
        earlier = sorted(self.home.glob("again-*"))
        kept = [harvest(self.wish, ShardFiles(folder)) for folder in earlier]
        places = still_lost(found, kept)
        if places:
            self._note(f"Asking again for rows without an answer: {len(places):,}")
        waiting = [places[start : start + shard_rows] for start in range(0, len(places), shard_rows)]
        while waiting:
            some = waiting.pop(0)
            made, spoilt = self._again(len(kept), some, questions)
            if made is not None:
                kept.append(made)
            elif not spoilt:
                break
            elif len(some) > 1:
                # One answer spoils its shard: halving finds it, and the others are kept.
                waiting[:0] = [some[: len(some) // 2], some[len(some) // 2 :]]
        return kept

    def _again(
        self, number: int, places: list[int], questions: Sequence[Question]
    ) -> tuple[Harvest | None, bool]:
        """What was answered, and whether an answer that 2.x cannot write spoilt it.

        None when nothing was answered: the rows stay lost, and their log stays until the next start.
        """
        folder = self.home / f"again-{number:05}"
        files = self._begin(folder, places, [questions[place] for place in places])
        exit_code = self._start(files)
        made = harvest(self.wish, files)
        spoilt = _unwritable(files.log)
        if not made.answered or (exit_code and not spoilt):
            said = _last_problem(files.log)
            self._note(f"Nothing more was answered{': ' + said if said else ''}. All it said: {files.log}")
            return None, spoilt
        os.rename(files.folder, folder)
        return made, spoilt

    def _begin(self, folder: Path, places: Sequence[int], questions: Sequence[Question]) -> ShardFiles:
        """A working folder with the input and the config of a shard that will be `folder`."""
        self.home.mkdir(parents=True, exist_ok=True)
        for stale in self.home.glob(f".{folder.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        files = ShardFiles(Path(tempfile.mkdtemp(dir=self.home, prefix=f".{folder.name}.")))
        rows = (
            input_row(self.wish, place, *question) for place, question in zip(places, questions, strict=True)
        )
        files.input.write_text("".join(map(dump_row, rows)), encoding="utf-8")
        write_json_atomic(files.config, shard_config(self.wish, files))
        return files

    def _note(self, message: str) -> None:
        self.on_event(Note(message))

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
            decoder, masking = codecs.getincrementaldecoder("utf-8")("replace"), Masking(self.key)
            with open(files.log, "wb") as log:
                while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
                    _tell(log, masking.take(decoder.decode(piece)))
                _tell(log, masking.take(decoder.decode(b"", final=True)) + masking.end())
            return process.wait()
        finally:
            process.kill()
            process.wait()
            _mask_files(files.folder, self.key)

    def _failed(self, files: ShardFiles, number: int, exit_code: int) -> RunError:
        said = _last_problem(files.log)
        how = f"exit code {exit_code}" if exit_code else "exit code 0, and no answer to any row"
        return RunError(
            f"EasyDistill 2.x failed on shard {number} ({how}){': ' + said if said else ''}",
            f"All it said is in {files.log}. The shards before it are kept: start the same job again.",
        )


def _tell(log: BinaryIO, text: str) -> None:
    log.write(text.encode())
    log.flush()
    sys.stderr.write(text)
    sys.stderr.flush()


def _mask_files(folder: Path, key: Secret) -> None:
    """Take the key out of what 2.x wrote: a server may quote it in an answer, which becomes training data."""
    forms = [form.encode() for form in key.in_answers.forms]
    for path in folder.rglob("*"):
        if path.is_file() and any(form in (content := path.read_bytes()) for form in forms):
            for form in forms:
                content = content.replace(form, b"***")
            path.write_bytes(content)


def _unwritable(log: Path) -> bool:
    """Whether 2.x ended on an answer with half a surrogate pair: no file of it could hold that one."""
    return "surrogates not allowed" in _last_problem(log)


def _last_problem(log: Path) -> str:
    """The last error that a log tells of, from its last lines."""
    text = log.read_bytes()[-65536:].decode("utf-8", errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    for line in reversed(lines):
        if found := _PROBLEM.match(line):
            return one_line(found[1] or line, 300)
    return ""
