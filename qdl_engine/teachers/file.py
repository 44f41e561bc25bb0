"""Answers that a teacher gave before, in a file: JSON, JSONL or Parquet, joined by the instruction."""

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
from qdl_engine.teachers.base import Asking, Failure, Logits, NoAnswerError, Question, Result, TeacherAnswer
from qdl_engine.teachers.budget import Budget

ROWS_TO_DETECT = 50


class FileTeacher:
    """Knows the answers to what stands in its file, and nothing else.

    Of several answers to one instruction the first counts. White space at the ends of an instruction does
    not. The system prompt plays no part: whoever asked then has chosen it.
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
        self._other_answers = 0
        self._broken: list[str] = []

    @cached_property
    def _answers(self) -> dict[str, TeacherAnswer]:
        rows = read_file(self.path)
        head = list(itertools.islice(rows, ROWS_TO_DETECT))
        whole = [row.value for row in head if isinstance(row.value, Mapping)]
        fields, schema = choose_schema(self.fields, self.mapping, whole, source=str(self.path))
        answers: dict[str, TeacherAnswer] = {}
        self._other_answers = 0
        self._broken = []
        for row in itertools.chain(head, rows):
            for chain in chains_of(row.value, schema):
                if isinstance(chain, Drop):
                    if chain.step == "broken":
                        self._broken.append(f"{row.row or row.line}: {row.problem or chain.detail}")
                elif chain.answer.strip() or chain.thought.strip():
                    answer = _answer(chain)
                    first = answers.setdefault(chain.instruction.strip(), answer)
                    self._other_answers += first != answer
        answers.pop("", None)
        if not answers:
            if fields == "mapping":
                check_mapping(self.mapping, whole, source=str(self.path))
            raise DataError(
                f"No answers in {self.path}", "Name its columns: teacher.fields and teacher.mapping."
            )
        return answers

    @cached_property
    def _identity(self) -> str:
        check_regular(self.path)
        try:
            with open(self.path, "rb") as handle:
                content = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as cause:
            raise DataError(
                f"Cannot read the answers in {self.path}: {cause.strerror}", "Set teacher.answers."
            ) from cause
        return json.dumps(["file", content, self.fields, self.mapping])

    def key(self, question: Question) -> str:
        parts = [self._identity, question.instruction.strip()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def load(self, on_event: EventSink) -> None:
        _ = self._answers

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        known_answers = self._answers
        if self._other_answers:
            others = f"{self._other_answers:,} rows: the first counts"
            told = f"{self.path.name} answers again, and otherwise, in {others}"
            on_event(Note(told))
        if self._broken:
            told = (
                f"{len(self._broken):,} rows of {self.path.name} are broken; the first is {self._broken[0]}"
            )
            on_event(Note(told))
        meter = Meter(len(questions), on_event)
        for index, question in enumerate(questions):
            known = known_answers.get(question.instruction.strip())
            meter.row_done(0)
            yield index, known or Failure("unknown", f"{self.path} has no answer to it")
            meter.step(0)
        meter.finish()

    def stream(self, question: Question, asking: Asking) -> Generator[StreamChunk, None, None]:
        known = self._answers.get(question.instruction.strip())
        if known is None:
            raise NoAnswerError(
                f"{self.path.name} has no answer to this prompt",
                "The teacher is a file of answers: it knows only what it was asked then.",
            )
        stopped: Stopped = "length" if known.reason == "cut" else "eos"
        yield StreamChunk(known.completion, 0, 0.0, True, 0.0, stopped, known.reason)

    def close(self) -> None:
        self.__dict__.pop("_answers", None)


def _answer(chain: Chain) -> TeacherAnswer:
    reason: Reason = "cut" if chain.cut else ("" if chain.answer.strip() else "empty")
    return TeacherAnswer(chain.answer.strip(), 0, reason, chain.thought)
