"""What is wrong with a setting, said with its key, what is accepted, and the key or value that was meant."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings.fields import all_fields, field_info, sections
from qdl_engine.settings.recipe import MAPPING_KEYS

LONGEST_LIST = 120
"""Characters of what is accepted that are told in a narrow place."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a settings file."""

    file: str
    key: str
    message: str
    accepted: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        parts = [f"{self.file}: {self.key}: {self.message}." if self.key else f"{self.file}: {self.message}."]
        if self.accepted:
            parts.append(f"Accepted: {self.accepted.rstrip('.')}.")
        if self.nearest:
            parts.append(f"Did you mean {self.nearest}?")
        return " ".join(parts)

    @property
    def cause_first(self) -> str:
        """The same for a narrow place: cause, cure and last the file; a long list is only referred to."""
        parts = [f"{self.key}: {self.message}." if self.key else f"{self.message}."]
        if self.nearest:
            parts.append(f"Did you mean {self.nearest}?")
        elif len(self.accepted) > LONGEST_LIST:
            parts.append("qdl config validate lists what is accepted.")
        elif self.accepted:
            parts.append(f"Accepted: {self.accepted.rstrip('.')}.")
        return " ".join([*parts, f"In {self.file}"])


def settings_error(problems: list[Problem]) -> SettingsError:
    first = problems[0]
    hints = [f"Accepted: {first.accepted}." if first.accepted else ""]
    hints.append(f"Did you mean {first.nearest}?" if first.nearest else "")
    hints.extend(f"\nAlso: {other}" for other in problems[1:])
    head = f"{first.file}: {first.key}" if first.key else first.file
    return SettingsError(f"{head}: {first.message}", " ".join(hint for hint in hints if hint))


def from_pydantic(invalid: ValidationError, file: str) -> list[Problem]:
    return [
        problem([str(part) for part in e["loc"]], e["type"], e["msg"], e["input"], file)
        for e in invalid.errors()
    ]


def problem(place: list[str], kind: str, message: str, value: Any, file: str) -> Problem:
    key = ".".join(place)
    if kind == "extra_forbidden":
        return unknown_key(key, file)
    if kind in ("model_type", "model_attributes_type", "dict_type") and len(place) == 1:
        return Problem(
            file, key, f"{str(value)[:60]!r} is no table", f"a table: [{key}] on a line of its own"
        )
    message = message.removeprefix("Value error, ")
    if len(place) < 2:
        # A rule between two fields: it begins with the name of the first.
        field = message.split(" ", 1)[0]
        known = place and place[0] in sections() and f"{place[0]}.{field}" in all_keys()
        return Problem(file, f"{place[0]}.{field}" if known else key, message, "" if known else "a table")
    info = field_info(".".join(place[:2]))
    if info.kind == "mapping" and kind == "value_error":
        return _unknown_in_mapping(key, value, file)
    near = difflib.get_close_matches(str(value), info.choices, 1) if info.choices else []
    shown = str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}..."
    return Problem(file, key, f"{shown!r} is not accepted", info.bounds_text, repr(near[0]) if near else "")


def unknown_key(key: str, file: str) -> Problem:
    """A key that is none: what its table takes, or which tables there are."""
    section, _, name = key.partition(".")
    if name and section in sections():
        names = ", ".join(info.key.split(".")[1] for info in all_fields(section))
        return Problem(file, key, "unknown key", f"in [{section}]: {names}", nearest_key(key))
    return Problem(file, key, "unknown key", f"tables {', '.join(sections())}", nearest_key(key))


def _unknown_in_mapping(key: str, mapping: Any, file: str) -> Problem:
    wrong = next(name for name in mapping if name not in MAPPING_KEYS)
    near = difflib.get_close_matches(wrong, MAPPING_KEYS, 1)
    return Problem(
        file, f"{key}.{wrong}", "unknown key", ", ".join(MAPPING_KEYS), f"{key}.{near[0]}" if near else ""
    )


def all_keys() -> list[str]:
    return [info.key for section in sections() for info in all_fields(section)]


def nearest_key(key: str) -> str:
    """The valid key most like `key`: in its own table first, then by its last part anywhere."""
    section, _, name = key.rpartition(".")
    keys = all_keys()
    if section in sections():
        own = {k.split(".", 1)[1]: k for k in keys if k.startswith(f"{section}.")}
        if near := difflib.get_close_matches(name, own, 1):
            return own[near[0]]
    elif near := difflib.get_close_matches(section or name, sections(), 1):
        return _nearest_in(near[0], name) if section else near[0]
    by_name = {k.split(".", 1)[1]: k for k in reversed(keys)}
    if near := difflib.get_close_matches(name, by_name, 1):
        return by_name[near[0]]
    return ""


def _nearest_in(section: str, name: str) -> str:
    names = [info.key.split(".", 1)[1] for info in all_fields(section)]
    near = difflib.get_close_matches(name, names, 1)
    return f"{section}.{near[0]}" if near else section
