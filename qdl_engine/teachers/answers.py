"""Answers on disk: an append-only file of JSON lines, one answer a line, that survives a killed writer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from qdl_engine.core.words import is_unicode
from qdl_engine.models.generate import Reason


@dataclass(frozen=True)
class StoredAnswer:
    """One raw completion of the teacher. What is kept of it is decided when it is read."""

    key: str
    text: str
    tokens: int
    reason: Reason
    prompt_tokens: int = 0
    """0 where the teacher does not count them."""


def answer_key(prompt: str, teacher: str, quantization: str, max_new_tokens: int, temperature: float) -> str:
    """Everything that decides an answer, in one name: other settings ask again, the same ones never do."""
    parts = [prompt, teacher, quantization, max_new_tokens, temperature]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class LabelCache:
    """The stored answers of one lab. Its writer holds the lab's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Iterable[str]) -> dict[str, StoredAnswer]:
        """The stored answers among `keys`; lines that are no answers, or no file could hold, are skipped."""
        wanted = set(keys)
        found: dict[str, StoredAnswer] = {}
        if not self.path.exists():
            return found
        with open(self.path, "rb") as lines:
            for line in lines:
                answer = _parse(line)
                if answer is not None and answer.key in wanted and is_unicode(answer.text):
                    found[answer.key] = answer
        return found

    def repair(self) -> None:
        """Cut off a last line that a killed writer left without its end: the next one must stand alone."""
        if not self.path.exists():
            return
        with open(self.path, "rb+") as handle:
            end = handle.seek(0, os.SEEK_END)
            position, tail = end, b""
            while position > 0 and b"\n" not in tail:
                step = min(65536, position)
                position -= step
                handle.seek(position)
                tail = handle.read(step)
            whole = position + tail.rfind(b"\n") + 1
            if whole < end:
                handle.truncate(whole)

    def append(self, answer: StoredAnswer) -> None:
        """Store one answer in one write.

        Once written it outlives this process however it ends; only the machine's own crash can lose it, and
        then the row is asked again, which is cheaper than a disk flush for every answer.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # ASCII: a lone surrogate in a model's text must not stop the writing.
        line = json.dumps(asdict(answer)).encode("ascii") + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, line)
            while written < len(line):
                written += os.write(descriptor, line[written:])
        finally:
            os.close(descriptor)


def _parse(line: bytes) -> StoredAnswer | None:
    try:
        value = json.loads(line)
        return StoredAnswer(
            value["key"], value["text"], value["tokens"], value["reason"], value.get("prompt_tokens", 0)
        )
    except (ValueError, KeyError, TypeError):
        return None
