"""The settings of a lab while they are edited: what changed, undo and save.

`Draft` knows no screen; the app has one for its lab, whichever screen edits it. `shared.saving` saves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.settings import LabSettings
    from qdl_engine.settings.fields import FieldInfo


def value_text(value: object) -> str:
    """A setting as a person types it: `true`, `0.03`, `{instruction = "question"}`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = (f"{_key_text(key)} = {json.dumps(item, ensure_ascii=False)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return str(value)


def _key_text(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def setting_of(settings: LabSettings, key: str) -> object:
    """The value at a dotted key such as `system1.rows`."""
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


FileStamp = tuple[int, int]
"""When `qdl.toml` was written, in ns, and its bytes; zeros where there is none."""


def file_stamp(lab: Lab) -> FileStamp:
    """A value that changes whenever `qdl.toml` does."""
    try:
        found = lab.settings_file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def counted(changes: int) -> str:
    """`1 change`, `2 changes`."""
    return f"{changes} change{'' if changes == 1 else 's'}"


class Draft:
    """Edited settings over saved ones. It takes only values that pass every check."""

    def __init__(self, lab: Lab, saved: LabSettings) -> None:
        self.lab = lab
        self.saved = saved
        self.current = saved
        self._history: list[tuple[str, LabSettings]] = []
        """The name of each edit, and the settings before it."""
        self._stamp = file_stamp(lab)

    @classmethod
    def read(cls, lab: Lab) -> Draft:
        """The draft of what `qdl.toml` says now.

        Raises:
            SettingsError: naming file and key, when the file is not valid.
        """
        from qdl_engine.settings.toml import load_settings

        return cls(lab, load_settings(lab))

    def text(self, key: str) -> str:
        """The value of a setting, edits included."""
        return value_text(setting_of(self.current, key))

    def saved_text(self, key: str) -> str:
        """The value of a setting in `qdl.toml`."""
        return value_text(setting_of(self.saved, key))

    def is_changed(self, key: str) -> bool:
        return setting_of(self.current, key) != setting_of(self.saved, key)

    def unused_with(self, info: FieldInfo) -> str:
        """The chosen `kind` of the setting's table, where that kind does not use the setting; else empty."""
        if not info.kinds:
            return ""
        kind = str(setting_of(self.current, f"{info.section}.kind"))
        return "" if kind in info.kinds else kind

    def check(self, key: str, text: str) -> str:
        """What is wrong with `text` as the value of `key`; empty when nothing is."""
        from qdl_engine.settings.toml import set_value

        try:
            set_value(self.current, key, text)
        except SettingsError as error:
            # The form shows the key beside it and what is accepted below: neither is repeated.
            return error.message.removeprefix(f"settings: {key}: ")
        return ""

    def set(self, key: str, text: str) -> None:
        """Take a new value.

        Raises:
            SettingsError: when it is not accepted; the draft stays as it was.
        """
        self.set_many(key, {key: text})

    def set_many(self, name: str, texts: Mapping[str, str]) -> None:
        """Take several values as one edit, which undo calls `name`.

        Raises:
            SettingsError: when one is not accepted; the draft stays as it was.
        """
        from qdl_engine.settings.toml import set_values

        self._take(name, set_values(self.current, texts))

    def use_preset(self, system: System, name: str) -> None:
        """Apply a preset to one system, as one edit."""
        from qdl_engine.settings.presets import apply_preset

        self._take(f"preset {name}", apply_preset(self.current, system, name))

    def _take(self, name: str, changed: LabSettings) -> None:
        if changed != self.current:
            self._history.append((name, self.current))
            self.current = changed

    @property
    def can_undo(self) -> bool:
        return bool(self._history)

    def undo(self) -> str:
        """Undo the last edit and return its name; empty when there is none."""
        if not self._history:
            return ""
        name, self.current = self._history.pop()
        return name

    def changes(self) -> list[tuple[str, str, str]]:
        """Key, saved text and new text of every changed setting."""
        keys = [f"{table}.{name}" for table, values in self.current.model_dump().items() for name in values]
        return [(key, self.saved_text(key), self.text(key)) for key in keys if self.is_changed(key)]

    def diff(self) -> str:
        """What a save would change, one setting per line."""
        return "\n".join(f"{key}: {before} -> {after}" for key, before, after in self.changes())

    @property
    def dirty(self) -> bool:
        return self.current != self.saved

    @property
    def changed_outside(self) -> bool:
        """Whether another program wrote the file since it was read."""
        return file_stamp(self.lab) != self._stamp

    def save(self) -> None:
        """Write the changes. Where the file changed meanwhile, only our own changes go over it.

        Raises:
            SettingsError: when the file is broken by now; nothing is written.
        """
        from qdl_engine.settings.toml import load_settings, save_settings, set_values

        settings = self.current
        if self.changed_outside:
            settings = set_values(load_settings(self.lab), {key: new for key, _old, new in self.changes()})
            self._history.clear()  # those edits started from another file
        save_settings(self.lab, settings)
        self.saved = self.current = settings
        self._stamp = file_stamp(self.lab)
