"""What a setting and a table of `qdl.toml` are."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict


def setting(
    default: Any, help_text: str, *, unit: str = "", group: str = "", kinds: str = "", **bounds: Any
) -> Any:
    """A pydantic field that carries what a form shows beside it.

    Args:
        default: The value, or what makes one.
        help_text: What the setting is for.
        unit: What it is counted in.
        group: Under which heading it stands.
        kinds: The values of its table's `kind` that use it, with spaces between; empty when all do.
        bounds: Limits as pydantic takes them.
    """
    extra: JsonDict = {"unit": unit, "group": group, "kinds": [*kinds.split()]}
    if callable(default):
        return Field(default_factory=default, description=help_text, json_schema_extra=extra, **bounds)
    return Field(default, description=help_text, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    """One table of `qdl.toml`. Unknown keys are refused, and every assignment is checked."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _paths_are_text(cls, value: Any) -> Any:
        """A library's caller has paths, `qdl.toml` has text."""
        return os.fspath(value) if isinstance(value, os.PathLike) else value
