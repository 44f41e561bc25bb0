"""The settings while they are edited: what changed, undo, save. One draft for both recipes of a lab."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdl_engine.errors import LabError, SettingsError
from qdl_engine.lab import Lab

if TYPE_CHECKING:
    from qdl_engine.field_info import FieldInfo
    from qdl_engine.settings import LabSettings, System


def value_text(value: object) -> str:
    """A setting as it is typed: `true`, `0.03`, `{instruction = "question"}`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {json.dumps(item, ensure_ascii=False)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return str(value)


def setting_of(settings: LabSettings, key: str) -> object:
    """The value at a dotted key such as `system1.rows`."""
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


@dataclass(frozen=True)
class Field:
    """One row of the form: what the engine says of a setting, with its full dotted key."""

    key: str
    info: FieldInfo

    @property
    def name(self) -> str:
        return self.key.split(".", 1)[1]

    @property
    def group(self) -> str:
        section = self.key.split(".", 1)[0]
        shared = section not in ("system1", "system2")
        return f"{section.capitalize()}: {self.info.group}" if shared else self.info.group


def fields_of(section: str) -> list[Field]:
    """The settings of one table of `qdl.toml`, group by group."""
    from qdl_engine.toml import all_fields

    found = [
        Field(info.key if "." in info.key else f"{section}.{info.key}", info) for info in all_fields(section)
    ]
    groups = list(dict.fromkeys(field.group for field in found))
    return sorted(found, key=lambda field: groups.index(field.group))


class Draft:
    """Edited settings over saved ones. Only checked values ever get in."""

    def __init__(self, lab: Lab, saved: LabSettings) -> None:
        self.lab = lab
        self.saved = saved
        self.current = saved
        self._history: list[tuple[str, LabSettings]] = []
        self._stamp = self._file_stamp()

    @classmethod
    def read(cls, lab: Lab) -> Draft:
        """The draft of what `qdl.toml` says now.

        Raises:
            SettingsError: naming file and key, when the file cannot be accepted.
        """
        from qdl_engine.toml import load_settings

        return cls(lab, load_settings(lab))

    def _file_stamp(self) -> float:
        try:
            return self.lab.settings_file.stat().st_mtime
        except OSError:
            return 0.0

    def text(self, key: str) -> str:
        return value_text(setting_of(self.current, key))

    def saved_text(self, key: str) -> str:
        return value_text(setting_of(self.saved, key))

    def is_changed(self, key: str) -> bool:
        return setting_of(self.current, key) != setting_of(self.saved, key)

    def check(self, key: str, text: str) -> str:
        """What is wrong with `text` as the value of `key`; empty when nothing is."""
        from qdl_engine.toml import set_value

        try:
            set_value(self.current, key, text)
        except SettingsError as error:
            return f"{error.message} {error.hint}".strip()
        return ""

    def set(self, key: str, text: str) -> None:
        """Take a new value.

        Raises:
            SettingsError: when it is not accepted; the draft stays as it was.
        """
        from qdl_engine.toml import set_value

        changed = set_value(self.current, key, text)
        if setting_of(changed, key) != setting_of(self.current, key):
            self._history.append((key, self.current))
            self.current = changed

    def use_preset(self, system: System, name: str) -> None:
        """Lay a preset over one recipe, as one edit."""
        from qdl_engine.presets import apply_preset

        changed = apply_preset(self.current, system, name)
        if changed != self.current:
            self._history.append((system, self.current))
            self.current = changed

    def config_text(self, system: System) -> str:
        """The EasyDistill config as training would write it now, and the command that takes it."""
        from qdl_engine.easydistill.command import build_command
        from qdl_engine.easydistill.config import build_config

        config = build_config(self.lab, self.current, system)
        try:
            command = " ".join(build_command(self.lab.config_file(system, "ID"), self.current.runtime).argv)
        except LabError as error:
            command = f"cannot be built: {error.message}"
        return f"{json.dumps(config, ensure_ascii=False, indent=2)}\n\n{command}"

    def undo(self) -> str:
        """Take back the last edit and name its key; empty when there is none."""
        if not self._history:
            return ""
        key, self.current = self._history.pop()
        return key

    def changes(self) -> list[tuple[str, str, str]]:
        """Key, saved and new text of every changed setting."""
        keys = [f"{table}.{name}" for table, values in self.current.model_dump().items() for name in values]
        return [(key, self.saved_text(key), self.text(key)) for key in keys if self.is_changed(key)]

    @property
    def dirty(self) -> bool:
        return self.current != self.saved

    @property
    def changed_outside(self) -> bool:
        """Whether somebody else wrote the file since it was read."""
        return self._file_stamp() != self._stamp

    def save(self) -> None:
        from qdl_engine.toml import save_settings

        save_settings(self.lab, self.current)
        self.saved = self.current
        self._stamp = self._file_stamp()
