"""What a caller of the library may pass as a lab and as settings: a directory, one table, a plain dict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import System
from qdl_engine.settings import LabSettings, System1Settings, System2Settings, TeacherSettings
from qdl_engine.settings.toml import checked_settings, load_settings

LabLike = Lab | str | os.PathLike[str]
"""A lab, or its directory."""

Config = LabSettings | System1Settings | System2Settings | TeacherSettings | Mapping[str, Any]
"""The settings of a lab or of one table, or a plain dict with the keys of either."""


def as_lab(lab: LabLike) -> Lab:
    """The lab that a caller means.

    Raises:
        SettingsError: when it is neither a lab nor the name of a directory.
    """
    if isinstance(lab, Lab):
        return lab
    if not isinstance(lab, str | os.PathLike):
        # Callers are not all typed.
        raise SettingsError(f"A {type(lab).__name__} is not a lab", "Pass a lab or its directory first.")
    return Lab.at(lab)


def settings_of(lab: Lab, config: Config | None, system: System) -> LabSettings:
    """The settings that a config means; without one, those of the lab's `qdl.toml`.

    Raises:
        SettingsError: naming the key that is not accepted, and the nearest valid key.
    """
    return load_settings(lab) if config is None else lab_settings(config, system)


def lab_settings(config: Config, system: System) -> LabSettings:
    """The settings of a lab that a config means; tables that it does not name keep their defaults.

    Raises:
        SettingsError: naming the key that is not accepted, and the nearest valid key.
    """
    if isinstance(config, LabSettings):
        return config
    if isinstance(config, System1Settings | System2Settings):
        tables: Mapping[str, Any] = {system: config.model_dump()}
    elif isinstance(config, TeacherSettings):
        tables = {"teacher": config.model_dump()}
    elif isinstance(config, Mapping):
        tables = _tables(config, system)
    else:
        raise SettingsError(
            f"A {type(config).__name__} is not a config", "Pass settings, or a dict of them: {'rows': 100}"
        )
    return checked_settings(tables, "config")


def _tables(config: Mapping[str, Any], system: System) -> Mapping[str, Any]:
    """The dict as tables: keys of the student's own table may stand beside whole tables."""
    tables = {key: value for key, value in config.items() if key in LabSettings.model_fields}
    own = {key: value for key, value in config.items() if key not in tables}
    recipe = System1Settings if system == "system1" else System2Settings
    given = tables.get(system, {})
    if tables and not (own.keys() & recipe.model_fields.keys() and isinstance(given, Mapping)):
        return config
    return {**tables, system: {**given, **own}} if own or not tables else tables
