"""Which columns of a source a named schema reads, in our words: what the mapping editor marks as used."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_LEVELS = {
    "rv": ("Reasoning_Verbosity", "reasoning_verbosity", "rv"),
    "cd": ("Cognitive_Difficulty", "cognitive_difficulty", "cd"),
    "verified": ("thought_correctness_verify", "logical_correctness", "verified"),
}
_TURNS = ("messages", "conversations")
_CHAIN = {
    "thought": ("thought",),
    "answer": ("solution", "full_response"),
    **_LEVELS,
}
_READS: dict[str, Mapping[str, tuple[str, ...]]] = {
    "distilqwen": {"instruction": ("instruction",), "output": ("output",), **_LEVELS},
    "alpaca": {"instruction": ("instruction",), "input": ("input",), "output": ("output",), **_LEVELS},
    "qa": {"instruction": ("question",), "output": ("answer",), **_LEVELS},
    "messages": {"instruction": _TURNS, "output": _TURNS, **_LEVELS},
    "omnithought": {
        "instruction": ("question", "instruction"),
        **{key: tuple(f"reasoning.0.{name}" for name in names) for key, names in _CHAIN.items()},
    },
}
"""By schema: what is ours, and the columns it may come from; the first that is there is taken."""


def schema_columns(schema: str, columns: Collection[str]) -> dict[str, str]:
    """What is ours to the column that `schema` takes it from; of a list, as its first element has it."""
    found = {
        key: next((name for name in names if name in columns), "")
        for key, names in _READS.get(schema, {}).items()
    }
    return {key: name for key, name in found.items() if name}
