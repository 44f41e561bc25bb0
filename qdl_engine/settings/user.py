"""What belongs to the user and not to a lab: the EasyDistill that was checked, and the keys of the app.

Kept as TOML in the user's configuration directory. It is the user's file: comments and order survive a save.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import user_settings_file, write_text_atomic
from qdl_engine.settings import Section, setting
from qdl_engine.settings.problems import Problem, settings_error
from qdl_engine.settings.toml import read_toml, replace_entries, sync_table, toml_text

_HEAD = "# Your own settings of qdl and qdl-tui, in every lab. Change what you like; comments are kept.\n"


class EasyDistillRecord(Section):
    """The EasyDistill 1.0 that `qdl easydistill check` found to work. Written by that command."""

    python: str = setting("", "Interpreter that has what EasyDistill 1.0 needs.")
    checkout: str = setting("", "Checkout of EasyDistill 1.0.")
    version: str = setting("", "What the checkout is.")
    commit: str = setting("", "Its commit when it was checked.")
    checked: str = setting("", "When it was checked, as ISO 8601 in UTC.")


class Version2Record(Section):
    """The EasyDistill 2.x that `qdl easydistill run` was last told to use. Written by that command."""

    python: str = setting("", "Interpreter that has what EasyDistill 2.x needs.")
    checkout: str = setting("", "Checkout of EasyDistill 2.x.")


class UserSettings(Section):
    """The whole of the user's `settings.toml`."""

    easydistill: EasyDistillRecord = Field(default_factory=EasyDistillRecord)
    easydistill2: Version2Record = Field(default_factory=Version2Record)
    keymap: dict[str, str] = Field(default_factory=dict)
    """Binding id to the keys that replace the app's own, comma-separated."""


_TABLES: dict[str, type[Section]] = {"easydistill": EasyDistillRecord, "easydistill2": Version2Record}
_ACCEPTED = {
    "easydistill": "text",
    "easydistill2": "text",
    "keymap": 'keys as text, such as "f5" or "ctrl+t,f5"',
}


def load_user_settings() -> UserSettings:
    """The user's settings; the defaults when there is no file.

    Raises:
        SettingsError: naming file, key, what is accepted and the nearest valid key.
    """
    path = user_settings_file()
    return _checked(read_toml(path), str(path)) if path.is_file() else UserSettings()


def save_user_settings(settings: UserSettings) -> Path:
    """Save: only what changed is written, all else in the file stays, comments included.

    Returns:
        The file.

    Raises:
        SettingsError: when the file that is there cannot be read; it stays as it is.
        LabError: when it cannot be written.
    """
    import tomlkit

    path = user_settings_file()
    values = _checked(settings.model_dump(), str(path)).model_dump()
    if path.is_file():
        read_toml(path)
        document = tomlkit.parse(toml_text(path))
    else:
        document = tomlkit.parse(_HEAD)
    defaults = UserSettings().model_dump()
    for section, fields in values.items():
        if section not in document:
            if fields == defaults[section]:
                continue
            document[section] = tomlkit.table()
        if section == "keymap":
            replace_entries(document[section], fields)  # type: ignore[arg-type]
        else:
            sync_table(document[section], fields, defaults[section])  # type: ignore[arg-type]
    try:
        write_text_atomic(path, tomlkit.dumps(document))
    except OSError as cause:
        raise LabError(
            f"{path}: cannot be written: {cause.strerror}", "Set XDG_CONFIG_HOME to a directory of yours."
        ) from cause
    return path


def _checked(values: Mapping[str, Any], file: str) -> UserSettings:
    try:
        return UserSettings.model_validate(values, strict=True)
    except ValidationError as invalid:
        raise _error(invalid, file) from invalid


def _error(invalid: ValidationError, file: str) -> SettingsError:
    return settings_error(
        [_problem(error["loc"], error["type"], error["input"], file) for error in invalid.errors()]
    )


def _problem(place: tuple[int | str, ...], kind: str, value: Any, file: str) -> Problem:
    key, section = ".".join(map(str, place)), str(place[0])
    if kind == "extra_forbidden":
        known = _known(section) if len(place) > 1 else list(UserSettings.model_fields)
        near = difflib.get_close_matches(str(place[-1]), known, 1)
        nearest = ".".join([*map(str, place[:-1]), near[0]]) if near else ""
        where = f"in [{section}]: " if len(place) > 1 else "tables "
        return Problem(file, key, "unknown key", f"{where}{', '.join(known)}", nearest)
    if len(place) == 1:
        return Problem(file, key, f"{value!r} is not accepted", "a table")
    return Problem(file, key, f"{value!r} is not accepted", _ACCEPTED[section])


def _known(section: str) -> list[str]:
    return list(_TABLES[section].model_fields) if section in _TABLES else []
