"""Tokens of single rows, for a person who looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qdl_engine.data.preview import RenderedRow
from qdl_engine.easydistill.config import student_reference
from qdl_engine.lab import Lab
from qdl_engine.preflight.lengths import CHARACTERS_PER_TOKEN, TOKENIZER
from qdl_engine.preflight.shape import cached_file


@dataclass(frozen=True)
class RowTokens:
    """How long one row is.

    Attributes:
        prompt: Tokens that the student reads, those of the turns included.
        trained: Tokens that the loss is taken of, the end token included; 0 while there is no answer.
        origin: Counted by the student's own tokenizer, or estimated where it is not on this machine.
    """

    prompt: int
    trained: int
    origin: Literal["counted", "by characters"]

    @property
    def total(self) -> int:
        return self.prompt + self.trained

    def text(self, max_length: int) -> str:
        """`31 prompt + 12 trained = 43 of 160 tokens`."""
        about = "" if self.origin == "counted" else "about "
        trained = f" + {self.trained:,} trained = {self.total:,}" if self.trained else ", no answer yet,"
        return f"{about}{self.prompt:,} prompt{trained} of {max_length:,} tokens"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RowTokens:
        return cls(value["prompt"], value["trained"], value["origin"])

    def to_dict(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "trained": self.trained, "total": self.total, "origin": self.origin}


def row_tokens(lab: Lab, student: str, rows: Sequence[RenderedRow]) -> list[RowTokens]:
    """The tokens of each row, by the student's tokenizer as training counts them."""
    tokenizer = cached_file(student_reference(lab, student), TOKENIZER)
    if tokenizer is None:
        return [
            RowTokens(_by_characters(row.prompt), _by_characters(row.trained), "by characters")
            for row in rows
        ]
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    prompts = loaded.encode_batch([row.prompt for row in rows], add_special_tokens=False)
    trained = loaded.encode_batch([row.trained for row in rows], add_special_tokens=False)
    return [RowTokens(len(one), len(other), "counted") for one, other in zip(prompts, trained, strict=True)]


def _by_characters(text: str) -> int:
    return round(len(text) / CHARACTERS_PER_TOKEN)
