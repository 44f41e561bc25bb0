"""What prepared data were made with, kept in their report: whether they still are what the recipe asks for.

Contents and settings are compared, never the times of files: a copied lab has other times and the same data.
Nothing heavy is imported, not even the settings models: the app asks at its first paint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdl_engine.settings import RecipeSettings

DATA_KEYS = (
    "source", "split", "fields", "mapping", "rows", "seed", "max_length", "label",
    "rv_min", "rv_max", "cd_min", "cd_max", "require_verified",
)  # fmt: skip
"""Settings that decide which rows are prepared. Student and system prompt only measure them, and the trainer
measures again."""
HASHED_WHOLE = 64 * 2**20
"""Bytes up to which a file's content is compared; of a larger one the size must do."""

Digest = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One setting that is not what it was when the data were prepared."""

    key: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} was {self.then}, is {self.now}"


def provenance(recipe: RecipeSettings) -> dict[str, Any]:
    """What to keep in a report: the settings in force, and which of them were at their default.

    With these two, settings can be compared later from `qdl.toml` alone, which leaves defaults out.
    """
    values = recipe.model_dump()
    settings = {key: values[key] for key in DATA_KEYS if key in values}
    fields = type(recipe).model_fields
    defaults = [
        key for key in settings if settings[key] == fields[key].get_default(call_default_factory=True)
    ]
    return {"settings": settings, "defaults": defaults}


def differences(report: Mapping[str, Any], table: Mapping[str, Any]) -> list[Difference]:
    """How a recipe differs from the settings that a report keeps.

    Args:
        report: A saved report; one that keeps no settings, of an earlier version, differs in nothing.
        table: The recipe's table of `qdl.toml`, defaults left out, or all its values.
    """
    then = report.get("settings")
    defaults = report.get("defaults")
    if not isinstance(then, dict) or not isinstance(defaults, list):
        return []
    mapped = "mapping" in (then.get("fields"), table.get("fields"))
    found = []
    for key in DATA_KEYS:
        if key not in then or (key == "mapping" and not mapped):
            continue
        if key in table:
            if table[key] != then[key]:
                found.append(Difference(key, _shown(then[key]), _shown(table[key])))
        elif key not in defaults:
            found.append(Difference(key, _shown(then[key]), "the default"))
    return found


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def digest(path: Path) -> Digest:
    """Size and SHA-256 of a file."""
    import hashlib

    with open(path, "rb") as handle:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}


def is_same(path: Path, known: object) -> bool | None:
    """Whether a file is the one of which `known` is the digest; None when that is not known."""
    if not isinstance(known, dict) or not isinstance(known.get("sha256"), str):
        return None
    status = path.stat()
    if status.st_size != known.get("bytes"):
        return False
    if status.st_size > HASHED_WHOLE:
        return True
    return bool(_content(path, status.st_size, status.st_mtime_ns) == known["sha256"])


@lru_cache(maxsize=32)
def _content(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file, worked out once for as long as it stays as it is."""
    return str(digest(path)["sha256"])
