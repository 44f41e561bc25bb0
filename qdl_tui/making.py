"""The form of a job of EasyDistill 2.x: its values, and the command that they make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.content import Content

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_engine.upstream.version2.options import INPUT_HELP, JOB_PURPOSES, OPTIONS, TEACHER_SETTINGS
from qdl_tui.shared.draft import setting_of, value_text

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings

NEEDED = {"input": "the file of questions", "teacher.url": "the address of the server"}
"""What no job is without."""
_TEACHER_KEYS = tuple(f"teacher.{name}" for name in TEACHER_SETTINGS)


@dataclass(frozen=True)
class MakingField:
    """One row of the form; settings of the teacher have their dotted key."""

    key: str
    help: str
    accepts: str

    @property
    def name(self) -> str:
        return self.key.removeprefix("teacher.")

    @property
    def empty(self) -> str:
        """What an empty value is shown as."""
        if self.key in NEEDED:
            return "(to be typed)"
        return "(empty)" if self.key in _TEACHER_KEYS else "(default)"


class MakingForm:
    """A job of 2.x by the lab's teacher, when that is a server; else its address has to be typed.

    Args:
        lab: Where the job will run.
        settings: As they are saved.
    """

    def __init__(self, lab: Lab, settings: LabSettings) -> None:
        self.lab = lab
        self.settings = settings
        self.fields = _fields()
        there = lab.train_instructions.is_file()
        self.values = {
            "job": next(iter(JOB_PURPOSES)),
            "input": str(lab.train_instructions) if there else "",
            **{option.name: option.default for option in OPTIONS},
            **{key: value_text(setting_of(settings, key)) for key in _TEACHER_KEYS},
        }
        if settings.teacher.kind != "server":
            # Its name is that of local weights: no server need know it.
            self.values["teacher.model"] = ""

    @classmethod
    def read(cls, lab: Lab) -> MakingForm:
        """The form of a lab as its `qdl.toml` says now.

        Raises:
            SettingsError: naming file and key, when the file cannot be accepted.
        """
        from qdl_engine.settings.toml import load_settings

        return cls(lab, load_settings(lab))

    def set(self, key: str, text: str) -> None:
        """Take a value as it was typed; what only the job can judge is judged by `qdl ... --dry-run`.

        Raises:
            SettingsError: when it is not accepted; the form stays as it was.
        """
        from qdl_engine.settings.toml import set_value

        if key in _TEACHER_KEYS:
            text = value_text(setting_of(set_value(self.settings, key, text), key))
        elif key == "shard_rows" and not (text.isascii() and text.isdecimal() and int(text)):
            raise SettingsError(f"{key}: not a whole number from 1: {text!r}")
        self.values[key] = text

    @property
    def missing(self) -> str:
        """What has to be typed before there is a job; empty when nothing is missing."""
        return next((what for key, what in NEEDED.items() if not self.values[key]), "")

    def words(self) -> list[str]:
        """What `qdl` is told: only what is not said already by a default or by `qdl.toml`."""
        words = ["easydistill", "run", self.values["job"], self.values["input"]]
        for option in OPTIONS:
            value = self.values[option.name]
            if value != option.default:
                words += [option.flag, value]
        for key, text in self._overrides().items():
            words += ["--set", f"{key}={text}"]
        return words

    def _overrides(self) -> dict[str, str]:
        changed = {
            key: self.values[key]
            for key in _TEACHER_KEYS
            if self.values[key] != value_text(setting_of(self.settings, key))
        }
        return changed if self.settings.teacher.kind == "server" else {"teacher.kind": "server"} | changed


def _fields() -> list[MakingField]:
    from qdl_engine.settings.fields import field_info

    teacher = [field_info(key) for key in _TEACHER_KEYS]
    own = [
        MakingField("job", "What EasyDistill 2.x makes.", " | ".join(JOB_PURPOSES)),
        MakingField("input", _sentence(INPUT_HELP), "a file"),
    ]
    options = [MakingField(option.name, _sentence(option.help), option.accepts) for option in OPTIONS]
    by_key = [MakingField(info.key, info.help, info.bounds_text) for info in teacher]
    return [*own, options[0], *by_key, *options[1:]]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def found_text(found: dict[str, Any], command: str) -> Content:
    """What will be made, the config and the command; or what is wrong, and what to do."""
    error = found.get("error")
    if error is not None:
        message, hint = printable(error.get("message", "")), printable(error.get("hint") or "")
        return Content.assemble((message, "bold $error"), "\n", hint)
    done = f", {found['done']:,} of them done" if found["done"] else ""
    lines = [
        f"{found['rows']:,} rows, shards: {found['shards']:,}{done}; to {found['output']}",
        f"$ {command}",
        "Config of the first shard (JSON, which is YAML too):",
        json.dumps(found["config"], ensure_ascii=False, indent=2),
        f"$ {found['command']}",
    ]
    return Content(printable("\n".join(lines)))
