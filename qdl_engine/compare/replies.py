"""What the model worker sends back: one class for each kind of reply, one line of JSON each in the pipe.

Both ends are the same version of the program, so a line is read as it was written; anything else is skipped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

from qdl_engine.compare.comparison import Answer
from qdl_engine.core.events import json_line


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """What every reply has: the question and the model that it is about, empty when it is about neither."""

    kind: ClassVar[str]
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Ready(_Reply):
    """The worker has started."""

    kind = "ready"


@dataclass(frozen=True)
class Loading(_Reply):
    """The model is being loaded."""

    kind = "loading"


@dataclass(frozen=True)
class Loaded(_Reply):
    """The model is in memory."""

    kind = "loaded"
    seconds: float
    """How long it took to load."""
    parameters: int
    device: str


@dataclass(frozen=True)
class Chunk(_Reply):
    """The next piece of an answer."""

    kind = "chunk"
    text: str


@dataclass(frozen=True)
class Answered(_Reply):
    """The whole answer; the last reply to a question."""

    kind = "answer"
    answer: Answer


@dataclass(frozen=True)
class _Failure(_Reply):
    message: str
    hint: str = ""

    @property
    def reason(self) -> str:
        """What happened, and below it what to do."""
        return f"{self.message}\n\n{self.hint}".strip()


@dataclass(frozen=True)
class LoadFailed(_Failure):
    """The model could not be loaded; the last reply to a question."""

    kind = "load_failed"


@dataclass(frozen=True)
class AskFailed(_Failure):
    """The model could not answer, or the request made no sense; the last reply to a question."""

    kind = "error"


Reply = Ready | Loading | Loaded | Chunk | Answered | LoadFailed | AskFailed
_KINDS = {reply.kind: reply for reply in get_args(Reply)}


def to_line(reply: Reply) -> bytes:
    """The reply as one line of JSON. Half a surrogate pair, which a model may produce, becomes `?`."""
    return json_line({"event": reply.kind, **asdict(reply)}).encode("utf-8", "replace") + b"\n"


def from_line(line: bytes) -> Reply | None:
    """Read one line; None for a line that is no reply."""
    try:
        values: dict[str, Any] = json.loads(line)
        kind = _KINDS[values.pop("event")]
        if kind is Answered:
            values["answer"] = Answer(**values["answer"])
        reply: Reply = kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return reply
