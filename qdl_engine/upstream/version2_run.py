"""Asks EasyDistill 2.x for data: one config for all questions without an answer, one process, its rows read.

2.x writes its output at the end and cannot resume. So each call gets a folder of its own, which is kept: the
answers are whatever the folders of all calls hold, and the next call asks for what is missing in them.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qdl_engine.core.errors import DataError, RunError
from qdl_engine.core.events import EventSink, Progress, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.words import is_unicode, one_line, printable, two_columns
from qdl_engine.data.files import whole_file
from qdl_engine.data.json_rows import read_json_lines
from qdl_engine.data.schemas import merge_input, tagged_sections
from qdl_engine.data.sources import read_file
from qdl_engine.settings.address import Masking, Secret, is_local
from qdl_engine.upstream.version2 import (
    ANSWERED,
    CANDIDATES,
    CONFIG,
    DOLLAR,
    INPUT,
    OUTPUT,
    SCORED,
    Request,
    Row,
    Version2,
    clean_environment,
    config_of,
)

Answers = dict[str, Row | None]
"""The row made of each question; None where two answers gave no pair, which asking again would not change."""

# Questions -----------------------------------------------------------------------------------------------

QUESTION_COLUMNS = ("instruction", "question", "problem", "prompt")


def read_questions(path: Path) -> list[str]:
    """The distinct questions of a JSON, JSONL or Parquet file.

    Raises:
        DataError: when the file is missing, or no row asks anything.
    """
    if not path.is_file():
        raise DataError(f"Data file not found: {path}", "Name a JSON, JSONL or Parquet file of questions.")
    found: dict[str, None] = {}
    columns: Counter[str] = Counter()
    for row in read_file(path):
        if row.problem or not isinstance(row.value, dict):
            continue
        columns.update(row.value.keys())
        question = merge_input(_text(row.value, QUESTION_COLUMNS), _text(row.value, ("input",)))
        if question.strip():
            found[question] = None
    if not found:
        names = ", ".join(sorted(columns)[:12]) or "none"
        raise DataError(
            f"No questions in {path}; its columns: {names}",
            f"A question is in the column {', '.join(QUESTION_COLUMNS[:-1])} or {QUESTION_COLUMNS[-1]}.",
        )
    return list(found)


def _text(row: Row, names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := row.get(name), str) and value.strip()), "")


# What a call answered ------------------------------------------------------------------------------------


def read_answers(request: Request, folder: Path) -> Answers:
    """What the call in `folder` answered, in the shapes that a recipe's source takes.

    `instruct_distill` gives chat `messages`; the chain-of-thought jobs give OmniThought rows, with levels
    where they were scored; `dpo_data_build` gives prompt, chosen and rejected. A file may be missing.
    """
    asked = {str(row["id"]): str(row[request.question_key]) for row in _rows(folder / INPUT)}
    found: Iterator[tuple[str, Row | None]]
    if request.job == "instruct_distill":
        found = _messages(asked, folder)
    elif request.job == "dpo_data_build":
        found = _pairs(asked, folder, request.system_prompt)
    else:
        found = _chains(folder, scored=request.job == "advanced_cot_distill")
    wanted = set(asked.values())
    return {question: row for question, row in found if question in wanted}


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file. One with half a surrogate pair could not be written again: it answers nothing."""
    if path.is_file():
        for row in read_json_lines(path):
            if isinstance(row.value, dict) and is_unicode(_dump(row.value)):
                yield row.value


def _messages(asked: dict[str, str], folder: Path) -> Iterator[tuple[str, Row]]:
    for row in _rows(folder / OUTPUT):
        question = asked.get(str(row["metadata"].get("request_id")))
        if question is not None:
            yield question, {"messages": row["messages"]}


def _chains(folder: Path, *, scored: bool) -> Iterator[tuple[str, Row]]:
    """Both jobs keep the text of the problem, and lose the ids of the input."""
    for row in _rows(folder / (SCORED if scored else OUTPUT)):
        if scored:
            problem, response = str(row["instruction"]), str(row.get("response") or "")
        else:
            # The user's turn is the whole prompt of 2.x.
            problem, response = str(row["metadata"]["problem"]), str(row["messages"][-1]["content"])
        thought, solution = tagged_sections(response)
        record = {"thought": thought, "solution": solution, "full_response": response} | _levels(row)
        yield problem, {"question": problem, "reasoning": [record]}


def _levels(row: Row) -> Row:
    """The scores that lie on the scale. 2.x takes the first number of a reply, whatever it counts."""
    levels: Row = {}
    for key, name in (
        ("reasoning_verbosity", "Reasoning_Verbosity"),
        ("cognitive_difficulty", "Cognitive_Difficulty"),
    ):
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9:
            levels[name] = {"level": value}
    if isinstance(row.get("logical_correctness"), bool):
        levels["thought_correctness_verify"] = row["logical_correctness"]
    return levels


def _pairs(asked: dict[str, str], folder: Path, system_prompt: str) -> Iterator[tuple[str, Row | None]]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    pairs = {str(row["id"]): row for row in _rows(folder / SCORED)}
    # The output is written last: a question that has answers and no pair by then will not get one.
    done = (folder / OUTPUT).is_file()
    answered = {str(row["id"]) for row in _rows(folder / ANSWERED) if done and row.get("candidates")}
    for identity, question in asked.items():
        pair = pairs.get(identity, {})
        chosen, rejected = str(pair.get("chosen") or ""), str(pair.get("rejected") or "")
        if chosen.strip() and rejected.strip() and chosen.strip() != rejected.strip():
            row = {
                "prompt": [*system, {"role": "user", "content": question}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            }
            yield question, row | {key: pair.get(key) for key in ("chosen_score", "rejected_score")}
        elif identity in answered:
            yield question, None


def _dump(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


# The report ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What became of the questions of a job, over all its calls."""

    job: str
    requested: int
    answered: int
    earlier: int
    """Answered by earlier calls."""
    written: int
    counts: dict[str, int]
    """`without reasoning`, `unscored`, `no pair`: what a person should know about the rows."""
    seconds: float
    output: str
    lost: dict[int, str]
    """The questions without an answer, by their place among the distinct questions of the input, from 1."""

    @property
    def lost_text(self) -> str:
        """How many questions have no answer, and the first of them; empty when all have one."""
        named = [f"{row} ({one_line(question, 40)})" for row, question in self.lost.items()]
        more = ", ..." if len(named) > 5 else ""
        return f"Without an answer: {len(named):,}: {', '.join(named[:5])}{more}" if named else ""

    def table(self) -> str:
        """The report as lines for a terminal."""
        lines = [("requested", self.requested), ("answered", self.answered)]
        lines += [("  by earlier calls", self.earlier)] if self.earlier else []
        lines += [(name, count) for name, count in self.counts.items() if count]
        lines += [("written", self.written), ("seconds", round(self.seconds))]
        text = two_columns((name, f"{figure:,}") for name, figure in lines)
        return "\n".join(part for part in (text, self.lost_text, self.output) if part)


def _counts(job: str, answers: Answers) -> dict[str, int]:
    chains = [row["reasoning"][0] for row in answers.values() if row and "reasoning" in row]
    scores = {"Reasoning_Verbosity", "Cognitive_Difficulty"} if job == "advanced_cot_distill" else set()
    return {
        "without reasoning": sum(not chain["thought"] for chain in chains),
        "unscored": sum(not scores <= chain.keys() for chain in chains),
        "no pair": sum(row is None for row in answers.values()),
    }


# A call --------------------------------------------------------------------------------------------------

_PROBLEM = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*|.* - ERROR - (.*)$")
_BAR = re.compile(r"Generating responses:[^\r\n]*\| (\d+)/(\d+) \[")


def make_data(
    lab: Lab,
    installation: Version2,
    request: Request,
    questions: Sequence[str],
    *,
    key: Secret,
    output: Path,
    on_event: EventSink = no_sink,
) -> Report:
    """Ask EasyDistill 2.x every question that no earlier call of the same request has an answer to.

    Args:
        lab: Keeps the calls; this function holds its writer's lock.
        installation: The EasyDistill to start.
        request: The job and what decides its answers: a call with another request starts from nothing.
        questions: Distinct, in the order of the rows in the output.
        key: Of the server; it reaches 2.x through the environment alone.
        output: JSON Lines, written whole at the end, with a report beside it as `<its name>_report.json`.
        on_event: Takes the progress.

    Raises:
        RunError: when 2.x fails or there is no answer at all, whatever its exit code.
        DataError: when the answers make no row.
    """
    started = time.perf_counter()
    with lab.writer_lock(request.job):
        calls = _Calls(installation, request, key, calls_home(lab, request), questions, on_event)
        calls.read_earlier()
        earlier = len(calls.answers)
        if calls.waiting:
            calls.ask(calls.waiting)
        answers = [calls.answers.get(question) for question in questions]
        rows = [{"id": str(place)} | row for place, row in enumerate(answers) if row is not None]
        report = Report(
            job=request.job,
            requested=len(questions),
            answered=len(calls.answers),
            earlier=earlier,
            written=len(rows),
            counts=_counts(request.job, calls.answers),
            seconds=time.perf_counter() - started,
            output=str(output),
            lost={
                row: printable(question)
                for row, question in enumerate(questions, 1)
                if question not in calls.answers
            },
        )
        if not rows:
            raise DataError(f"{request.job} made no rows", report.table())
        with whole_file(output) as handle:
            handle.writelines(map(_dump, rows))
        write_json_atomic(report_file(output), asdict(report))
    return report


def report_file(output: Path) -> Path:
    """The report beside an output: the sign that a job of EasyDistill 2.x wrote it."""
    return output.with_name(f"{output.stem}_report.json")


def calls_home(lab: Lab, request: Request) -> Path:
    """The folder of all calls of a request."""
    digest = hashlib.sha256(json.dumps(request.identity, sort_keys=True).encode()).hexdigest()
    return lab.easydistill2 / f"{request.job}-{digest[:12]}"


def count_answered(lab: Lab, request: Request, questions: Sequence[str]) -> int:
    """How many of `questions` earlier calls of the same request answered."""
    folders = calls_home(lab, request).glob("call-*")
    answered = {question for folder in folders for question in read_answers(request, folder)}
    return sum(question in answered for question in questions)


@dataclass
class _Calls:
    """All calls of one request."""

    installation: Version2
    request: Request
    key: Secret
    home: Path
    questions: Sequence[str]
    on_event: EventSink
    answers: Answers = field(default_factory=dict)
    """To those of `questions` that have one."""
    said: str = ""
    """The end of what 2.x printed last."""
    told: int = 0
    """The last progress, in questions."""

    @property
    def waiting(self) -> list[str]:
        """The questions to ask: one that is not valid Unicode could not be written for 2.x."""
        return [
            question for question in self.questions if question not in self.answers and is_unicode(question)
        ]

    def read_earlier(self) -> None:
        """Take what earlier calls answered, killed ones too; calls without any answer are removed."""
        _mask_files(self.home, self.key)
        for folder in sorted(self.home.glob("call-*")):
            if not self._take(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _take(self, folder: Path) -> Answers:
        found = read_answers(self.request, folder)
        self.answers |= {question: found[question] for question in self.waiting if question in found}
        return found

    def ask(self, questions: Sequence[str]) -> None:
        """Ask `questions` in one call, and in halves those that an answer kept from being written.

        Raises:
            RunError: when 2.x fails for another reason, or no question has an answer by now.
        """
        folder = self._begin(questions)
        exit_code = self._start(folder, len(questions))
        self._take(folder)
        self._tell(len(self.answers))
        problem = _last_problem(self.said)
        if "surrogates not allowed" in problem:
            # 2.x stops writing at an answer with half a surrogate pair, and loses those behind it. Halving
            # finds the answer: its question stays without one, and the others are kept.
            left = [question for question in questions if question not in self.answers]
            half = (len(left) + 1) // 2
            for part in (left[:half], left[half:]):
                if part and len(part) < len(questions):
                    self.ask(part)
        elif exit_code or not self.answers:
            how = f"exit code {exit_code}" if exit_code else "exit code 0, and no answer at all"
            raise RunError(
                f"EasyDistill 2.x failed ({how}){': ' + problem if problem else ''}",
                f"Its output is in the log of the run. Answers kept: {len(self.answers):,}; "
                "the same command asks for the others.",
            )

    def _begin(self, questions: Sequence[str]) -> Path:
        """A folder with the input and the config of a call.

        Its name is new: a process that outlived an earlier call cannot write into it.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.home, prefix="call-"))
        key = self.request.question_key
        rows = ({"id": str(number), key: question} for number, question in enumerate(questions))
        (folder / INPUT).write_text("".join(map(_dump, rows)), encoding="utf-8")
        write_json_atomic(folder / CONFIG, config_of(self.request, folder))
        return folder

    def _start(self, folder: Path, count: int) -> int:
        """Run EasyDistill until it ends, showing what it prints; returns its exit code."""
        environment = clean_environment() | {"OPENAI_API_KEY": self.key.value or "EMPTY", DOLLAR: "$"}
        if is_local(self.request.url):
            environment |= {"NO_PROXY": "127.0.0.1,localhost,::1", "no_proxy": "127.0.0.1,localhost,::1"}
        process = subprocess.Popen(
            self.installation.command(folder / CONFIG),
            cwd=self.installation.checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.said = ""
        try:
            assert process.stdout is not None
            decoder, masking = codecs.getincrementaldecoder("utf-8")("replace"), Masking(self.key)
            while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
                self._show(masking.take(decoder.decode(piece)))
                self._tell_progress(count)
            self._show(masking.take(decoder.decode(b"", final=True)) + masking.end())
            return process.wait()
        finally:
            process.kill()
            process.wait()
            _mask_files(folder, self.key)

    def _show(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
        self.said = (self.said + text)[-65536:]

    def _tell_progress(self, count: int) -> None:
        """Tell each percent by the bar that 2.x draws: its files stay empty until a whole stage is done."""
        each = CANDIDATES if self.request.job == "dpo_data_build" else 1
        bars = [int(done) // each for done, of in _BAR.findall(self.said[-4096:]) if int(of) == count * each]
        # Judging draws bars of the same name, from 0 again.
        done, total = len(self.answers) + max(bars, default=0), len(self.questions)
        if done * 100 // total > self.told * 100 // total:
            self._tell(done)

    def _tell(self, done: int) -> None:
        self.told, total = done, len(self.questions)
        self.on_event(Progress(stage=self.request.job, done=done, total=total, unit="rows"))


def _mask_files(folder: Path, key: Secret) -> None:
    """Remove the key from what 2.x wrote: a server may quote it in an answer, which becomes training data."""
    forms = [form.encode() for form in key.in_answers.forms]
    for path in folder.rglob("*"):
        if path.is_file() and any(form in (content := path.read_bytes()) for form in forms):
            for form in forms:
                content = content.replace(form, b"***")
            path.write_bytes(content)


def _last_problem(said: str) -> str:
    """The last error that 2.x printed."""
    for line in reversed(re.split(r"[\r\n]+", said)):
        if found := _PROBLEM.match(line.strip()):
            return one_line(found[1] or line.strip(), 300)
    return ""
