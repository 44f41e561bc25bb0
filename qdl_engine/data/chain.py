"""One chain of a source row, and the marks that a filter reads on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Chain:
    """One instruction with one answer, as the source gives them."""

    instruction: str
    answer: str
    thought: str = ""
    rv: float | None = None
    cd: float | None = None
    verified: bool | None = None
    """Whether the answer was checked and found right; None when nobody checked."""
    cut: bool = False
    """The reasoning was opened and never closed."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A row or chain that is left out: the step of the report that counts it, and what was wrong."""

    step: str
    detail: str


def as_level(value: Any) -> float | None:
    """An RV or CD level as a number; None when there is none that can be read.

    OmniThought nests it (`{"level": 4, "judge": ...}`), other exports write 4, 4.0 or "4".
    """
    if isinstance(value, Mapping):
        return as_level(value.get("level"))
    if isinstance(value, bool) or value is None:
        return None
    try:
        level = float(value)
    except (TypeError, ValueError):
        return None
    return level if 0 <= level <= 9 else None


def as_verdict(value: Any) -> bool | None:
    """A correctness mark as a truth value; None only when nobody checked.

    A mark that cannot be read counts as a failed check: it must never let a wrong chain pass.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    return str(value).strip().lower() in {"1", "1.0", "true", "yes", "correct"}
