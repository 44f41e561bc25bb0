"""The settings while they are edited: what changed, undo, save. One draft for both recipes of a lab."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.settings import LabSettings, RuntimeSettings
    from qdl_engine.settings.fields import FieldInfo


def value_text(value: object) -> str:
    """A setting as it is typed: `true`, `0.03`, `{instruction = "question"}`."""
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
    from qdl_engine.settings.toml import all_fields

    found = [
        Field(info.key if "." in info.key else f"{section}.{info.key}", info) for info in all_fields(section)
    ]
    groups = list(dict.fromkeys(field.group for field in found))
    return sorted(found, key=lambda field: groups.index(field.group))


@dataclass(frozen=True)
class ConfigView:
    """An EasyDistill config as it will be written, line by line."""

    lines: tuple[str, ...]
    changed: frozenset[int]
    """Numbers of the lines that differ from what the saved settings give."""
    command: str
    """What starts the training; `ID` in it is the moment of the start. Empty when there is a problem."""
    problem: str = ""
    """Why the runtime cannot be started."""

    @property
    def config(self) -> str:
        """The JSON, as it is written."""
        return "\n".join(self.lines)

    @property
    def command_line(self) -> str:
        return f"cannot be built: {self.problem}" if self.problem else self.command

    @property
    def text(self) -> str:
        """All of it; a changed line carries a star."""
        if not self.changed:
            return "\n".join([*self.lines, "", f"$ {self.command_line}"])
        marked = [
            f"{'*' if number in self.changed else ' '} {line}" for number, line in enumerate(self.lines)
        ]
        return "\n".join([*marked, "", f"$ {self.command_line}"])


FileStamp = tuple[int, int]
"""When `qdl.toml` was written, in ns, and its bytes; zeros where there is none."""


def file_stamp(lab: Lab) -> FileStamp:
    """What tells one state of `qdl.toml` from another."""
    try:
        found = lab.settings_file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


class Draft:
    """Edited settings over saved ones. Only checked values ever get in."""

    def __init__(self, lab: Lab, saved: LabSettings) -> None:
        self.lab = lab
        self.saved = saved
        self.current = saved
        self._history: list[tuple[str, LabSettings]] = []
        self._commands: dict[str, tuple[RuntimeSettings, tuple[str, str]]] = {}
        self._stamp = file_stamp(lab)

    @classmethod
    def read(cls, lab: Lab) -> Draft:
        """The draft of what `qdl.toml` says now.

        Raises:
            SettingsError: naming file and key, when the file cannot be accepted.
        """
        from qdl_engine.settings.toml import load_settings

        return cls(lab, load_settings(lab))

    def text(self, key: str) -> str:
        return value_text(setting_of(self.current, key))

    def saved_text(self, key: str) -> str:
        return value_text(setting_of(self.saved, key))

    def is_changed(self, key: str) -> bool:
        return setting_of(self.current, key) != setting_of(self.saved, key)

    def unused_with(self, field: Field) -> str:
        """The chosen kind of its table, where that kind does not use the setting; else empty."""
        if not field.info.kinds:
            return ""
        kind = str(setting_of(self.current, f"{field.key.split('.', 1)[0]}.kind"))
        return "" if kind in field.info.kinds else kind

    def check(self, key: str, text: str) -> str:
        """What is wrong with `text` as the value of `key`; empty when nothing is."""
        from qdl_engine.settings.toml import set_value

        try:
            set_value(self.current, key, text)
        except SettingsError as error:
            # The key stands beside it and what is accepted below: neither is said twice.
            return error.message.removeprefix(f"settings: {key}: ")
        return ""

    def set(self, key: str, text: str) -> None:
        """Take a new value.

        Raises:
            SettingsError: when it is not accepted; the draft stays as it was.
        """
        from qdl_engine.settings.toml import set_value

        self._take(key, set_value(self.current, key, text))

    def set_many(self, name: str, texts: Mapping[str, str]) -> None:
        """Take several values as one edit, called `name` when it is undone.

        Raises:
            SettingsError: when one is not accepted; the draft stays as it was.
        """
        from qdl_engine.settings.toml import set_values

        self._take(name, set_values(self.current, texts))

    def use_preset(self, system: System, name: str) -> None:
        """Lay a preset over one recipe, as one edit."""
        from qdl_engine.settings.presets import apply_preset

        self._take(f"preset {name}", apply_preset(self.current, system, name))

    def _take(self, name: str, changed: LabSettings) -> None:
        if changed != self.current:
            self._history.append((name, self.current))
            self.current = changed

    def config_view(self, system: System) -> ConfigView:
        """The EasyDistill config as training would write it now, and the command that takes it.

        For a worker: with `runtime.kind = easydistill` another interpreter is asked, once for each runtime.
        """
        now, before = (self._config_lines(settings, system) for settings in (self.current, self.saved))
        changed = frozenset(
            number
            for number, pair in enumerate(itertools.zip_longest(now, before))
            if pair[0] != pair[1] and number < len(now)
        )
        return ConfigView(tuple(now), changed, *self._command_of(system))

    def _config_lines(self, settings: LabSettings, system: System) -> list[str]:
        from qdl_engine.config.write import build_config

        config = build_config(self.lab, settings, system)
        return json.dumps(config, ensure_ascii=False, indent=2).splitlines()

    def _command_of(self, system: System) -> tuple[str, str]:
        """The command, and what is wrong with the runtime when there is none."""
        from qdl_engine.training.command import build_command

        runtime = self.current.runtime
        known = self._commands.get(system)
        if known is not None and known[0] == runtime:
            return known[1]
        try:
            made = (shlex.join(build_command(self.lab.config_file(system, "ID"), runtime).argv), "")
        except LabError as error:
            made = ("", error.message)
        self._commands[system] = (runtime, made)
        return made

    @property
    def can_undo(self) -> bool:
        return bool(self._history)

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

    def diff(self) -> str:
        """What a save would change, one setting a line."""
        return "\n".join(f"{key}: {before} -> {after}" for key, before, after in self.changes())

    @property
    def dirty(self) -> bool:
        return self.current != self.saved

    @property
    def changed_outside(self) -> bool:
        """Whether somebody else wrote the file since it was read."""
        return file_stamp(self.lab) != self._stamp

    def save(self) -> None:
        """Write what is changed. Where the file was changed meanwhile, only our own changes go over it.

        Raises:
            SettingsError: when the file is broken by now; nothing is written.
        """
        from qdl_engine.settings.toml import load_settings, save_settings, set_values

        settings = self.current
        if self.changed_outside:
            settings = set_values(load_settings(self.lab), {key: new for key, _old, new in self.changes()})
            self._history.clear()
        save_settings(self.lab, settings)
        self.saved = self.current = settings
        self._stamp = file_stamp(self.lab)
