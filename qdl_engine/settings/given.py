"""A lab and settings in whatever form a caller has them: a directory, one table, a plain dict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import System
from qdl_engine.settings import LabSettings, System1Settings, System2Settings, TeacherSettings
from qdl_engine.settings.problems import from_pydantic, settings_error
from qdl_engine.settings.toml import load_settings

LabLike = Lab | str | os.PathLike[str]
"""A lab, or its directory."""

Config = LabSettings | System1Settings | System2Settings | TeacherSettings | Mapping[str, Any]
"""Settings of the lab or of one table, or a plain dict of either's keys."""


def as_lab(lab: LabLike) -> Lab:
    """The lab that a caller means.

    Raises:
        SettingsError: when it is neither a lab nor a directory's name.
    """
    if isinstance(lab, Lab):
        return lab
    if not isinstance(lab, str | os.PathLike):
        # Callers are not all typed.
        raise SettingsError(f"A {type(lab).__name__} is no lab", "Give a lab or its directory first.")
    return Lab.at(lab)


def settings_of(lab: Lab, config: Config | None, system: System) -> LabSettings:
    """The settings that a config means; without one, those of the lab's `qdl.toml`.

    Raises:
        SettingsError: naming the key that is not accepted, and the nearest that is.
    """
    return load_settings(lab) if config is None else lab_settings(config, system)


def lab_settings(config: Config, system: System) -> LabSettings:
    """The lab's settings that a config means; other tables than the given ones keep their defaults.

    Raises:
        SettingsError: naming the key that is not accepted, and the nearest that is.
    """
    if isinstance(config, LabSettings):
        return config
    if isinstance(config, System1Settings | System2Settings):
        return _checked({system: config.model_dump()})
    if isinstance(config, TeacherSettings):
        return _checked({"teacher": config.model_dump()})
    if not isinstance(config, Mapping):
        raise SettingsError(
            f"A {type(config).__name__} is no config", "Give settings, or a dict of them: {'rows': 100}"
        )
    return _checked(_tables(config, system))


def _tables(config: Mapping[str, Any], system: System) -> dict[str, Any]:
    """The dict as tables: the keys of the student's own table may stand beside whole tables."""
    tables = {key: value for key, value in config.items() if key in LabSettings.model_fields}
    own = {key: value for key, value in config.items() if key not in tables}
    recipe = System1Settings if system == "system1" else System2Settings
    given = tables.get(system, {})
    if tables and not (own.keys() & recipe.model_fields.keys() and isinstance(given, Mapping)):
        return dict(config)
    return {**tables, system: {**given, **own}} if own or not tables else tables


def _checked(values: Mapping[str, Any]) -> LabSettings:
    try:
        return LabSettings.model_validate(values, strict=True)
    except ValidationError as error:
        raise settings_error(from_pydantic(error, "config")) from error
