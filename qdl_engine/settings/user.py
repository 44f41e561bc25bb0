"""The user's own settings, the same in every lab: the checked EasyDistill, and the keys of the app.

They are TOML in the user's configuration directory. Comments and order survive a save.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import user_settings_file
from qdl_engine.core.toml import read_toml, save_toml
from qdl_engine.settings import Section, setting
from qdl_engine.settings.toml import checked

_NEW_FILE = "# Your own settings of qdl and qdl-tui, in every lab. Change what you like; comments are kept.\n"


class EasyDistillRecord(Section):
    """The EasyDistill 1.0 that `qdl easydistill check` approved last. That command writes it."""

    python: str = setting("", "Python interpreter with the packages that EasyDistill 1.0 needs.")
    checkout: str = setting("", "Checkout of EasyDistill 1.0.")
    version: str = setting("", "Version of the checkout.")
    commit: str = setting("", "Commit of the checkout when it was checked.")
    checked: str = setting("", "Time of the check, ISO 8601 in UTC.")


class Version2Record(Section):
    """The EasyDistill 2.x that `qdl easydistill run` used last. That command writes it."""

    python: str = setting("", "Python interpreter with the packages that EasyDistill 2.x needs.")
    checkout: str = setting("", "Checkout of EasyDistill 2.x.")


class UserSettings(Section):
    """The whole of the user's `settings.toml`."""

    easydistill: EasyDistillRecord = Field(default_factory=EasyDistillRecord)
    easydistill2: Version2Record = Field(default_factory=Version2Record)
    keymap: dict[str, str] = setting(
        dict,
        "Binding id to the keys that replace the app's own, separated by commas.",
        accepts='keys as text, such as "f5" or "ctrl+t,f5"',
    )


def load_user_settings() -> UserSettings:
    """The user's settings; the defaults when there is no file.

    Raises:
        SettingsError: naming file, key, what is accepted and the nearest valid key.
    """
    path = user_settings_file()
    return checked(UserSettings, read_toml(path), str(path)) if path.is_file() else UserSettings()


def save_user_settings(settings: UserSettings) -> Path:
    """Write what changed; comments and everything else in the file stay. Returns the file.

    Raises:
        SettingsError: when the file is broken; it stays as it is.
        LabError: when the file cannot be written.
    """
    path = user_settings_file()
    values = checked(UserSettings, settings.model_dump(), str(path)).model_dump()
    try:
        save_toml(path, values, UserSettings().model_dump(), new_file=_NEW_FILE)
    except OSError as cause:
        raise LabError(
            f"{path}: cannot be written: {cause.strerror}", "Set XDG_CONFIG_HOME to a directory of yours."
        ) from cause
    return path
