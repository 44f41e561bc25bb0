"""A teacher's answers from an earlier day, in a JSON, JSONL or Parquet file, joined by the instruction."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Generator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from qdl_engine.core.errors import DataError
from qdl_engine.core.events import EventSink, Note
from qdl_engine.data.schemas import Chain, Drop, chains_of, check_mapping, choose_schema
from qdl_engine.data.sources import check_regular, read_file
from qdl_engine.models.generate import Meter, Reason, Stopped, StreamChunk
from qdl_engine.teachers.base import (
    Decoding,
    Failure,
    Logits,
    NoAnswerError,
    Question,
    Result,
    TeacherAnswer,
    answer_key,
)
from qdl_engine.teachers.budget import Budget

_ROWS_TO_DETECT = 50


class FileTeacher:
    """Knows the answers in its file, and nothing else.

    Of several answers to one instruction the first counts. White space around an instruction does not matter,
    and neither does the system prompt: whoever asked at the time chose it.
    """

    logits: Logits = "none"
    parameters = 0
    device = "file"

    def __init__(self, path: Path, *, fields: str = "auto", mapping: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.fields = fields
        self.mapping = dict(mapping or {})
        self.name = str(path)
        self.budget = Budget()
        self._notes: list[str] = []

    @cached_property
    def _answers(self) -> dict[str, TeacherAnswer]:
        rows = read_file(self.path)
        head = list(itertools.islice(rows, _ROWS_TO_DETECT))
        with_columns = [row.value for row in head if isinstance(row.value, Mapping)]
        fields, schema = choose_schema(self.fields, self.mapping, with_columns, source=str(self.path))
        answers: dict[str, TeacherAnswer] = {}
        others, broken = 0, []
        for row in itertools.chain(head, rows):
            for chain in chains_of(row.value, schema):
                if isinstance(chain, Drop):
                    if chain.step == "broken":
                        broken.append(f"{row.row or row.line}: {row.problem or chain.detail}")
                elif chain.answer.strip() or chain.thought.strip():
                    answer = _answer(chain)
                    others += answers.setdefault(chain.instruction.strip(), answer) != answer
        answers.pop("", None)
        if not answers:
            if fields == "mapping":
                check_mapping(self.mapping, with_columns, source=str(self.path))
            raise DataError(
                f"No answers in {self.path}", "Name its columns: teacher.fields and teacher.mapping."
            )
        self._notes = []
        if others:
            self._notes.append(
                f"In {self.path.name} the first answer to a prompt counts; different ones: {others:,}"
            )
        if broken:
            self._notes.append(
                f"{len(broken):,} rows of {self.path.name} are broken; the first is {broken[0]}"
            )
        return answers

    @cached_property
    def _identity(self) -> str:
        check_regular(self.path)
        try:
            with open(self.path, "rb") as handle:
                content = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as cause:
            raise DataError(f"Cannot read {self.path}: {cause.strerror}", "Set teacher.answers.") from cause
        return json.dumps(["file", content, self.fields, self.mapping])

    def key(self, question: Question) -> str:
        return answer_key(self._identity, question.instruction.strip())

    def load(self, on_event: EventSink) -> None:
        _ = self._answers

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        answers = self._answers
        for note in self._notes:
            on_event(Note(note))
        meter = Meter(len(questions), on_event)
        for index, question in enumerate(questions):
            known = answers.get(question.instruction.strip())
            meter.row_done(0)
            yield index, known or Failure("unknown", f"{self.path} does not hold this prompt")
            meter.step(0)
        meter.finish()

    def stream(self, question: Question, decoding: Decoding) -> Generator[StreamChunk, None, None]:
        known = self._answers.get(question.instruction.strip())
        if known is None:
            raise NoAnswerError(
                f"{self.path.name} has no answer to this prompt",
                "The teacher is a file: it can only repeat the answers in it.",
            )
        stopped: Stopped = "length" if known.reason == "cut" else "eos"
        yield StreamChunk(known.completion, 0, 0.0, True, 0.0, stopped, known.reason)

    def close(self) -> None:
        self.__dict__.pop("_answers", None)


def _answer(chain: Chain) -> TeacherAnswer:
    reason: Reason = "cut" if chain.cut else ("" if chain.answer.strip() else "empty")
    return TeacherAnswer(chain.answer.strip(), 0, reason, chain.thought)
