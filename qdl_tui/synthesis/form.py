"""The values of the form, and the `qdl` command that they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdl_engine.lab import Lab
from qdl_engine.upstream.version2 import INPUT_HELP, JOBS, OPTIONS, TEACHER_SETTINGS
from qdl_tui.draft import setting_of, value_text

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings

NEEDED = {"input": "Questions file required", "teacher.url": "Server URL required"}
_TEACHER_KEYS = [f"teacher.{name}" for name in TEACHER_SETTINGS]


@dataclass(frozen=True)
class FormField:
    """One row of the form; settings of the teacher have their dotted key."""

    key: str
    help: str
    accepts: str

    @property
    def name(self) -> str:
        return self.key.removeprefix("teacher.")

    @property
    def empty(self) -> str:
        """What stands for an empty value."""
        if self.key in NEEDED:
            return "(required)"
        return "(empty)" if self.key in _TEACHER_KEYS else "(default)"


class SynthesisForm:
    """A job of EasyDistill 2.x with the lab's teacher; if that is not a server, the URL must be typed.

    Args:
        lab: Where the job will run.
        settings: As they are saved.
    """

    def __init__(self, lab: Lab, settings: LabSettings) -> None:
        from qdl_engine.field_info import field_info

        self.settings = settings
        teacher = [field_info(key) for key in _TEACHER_KEYS]
        options = [FormField(name, _sentence(text), accepts) for name, (accepts, text) in OPTIONS.items()]
        self.fields = [
            FormField("job", "What EasyDistill 2.x makes.", " | ".join(JOBS)),
            FormField("input", _sentence(INPUT_HELP), "a file"),
            options[0],
            *(FormField(info.key, info.help, info.bounds_text) for info in teacher),
            *options[1:],
        ]
        self.values = {field.key: "" for field in self.fields} | self._saved()
        self.values["job"] = next(iter(JOBS))
        if lab.train_instructions.is_file():
            self.values["input"] = str(lab.train_instructions)
        if settings.teacher.kind != "server":
            # The name of local weights means nothing to a server.
            self.values["teacher.model"] = ""

    @classmethod
    def read(cls, lab: Lab) -> SynthesisForm:
        """The form with the settings of the lab's `qdl.toml`.

        Raises:
            SettingsError: naming file and key, when the file cannot be accepted.
        """
        from qdl_engine.toml import load_settings

        return cls(lab, load_settings(lab))

    def _saved(self) -> dict[str, str]:
        return {key: value_text(setting_of(self.settings, key)) for key in _TEACHER_KEYS}

    def set(self, key: str, text: str) -> None:
        """Take a value as it was typed. Settings are checked here, the rest by `qdl ... --dry-run`.

        Raises:
            SettingsError: when the value is not accepted; the form keeps the one before.
        """
        from qdl_engine.toml import set_value

        if key in _TEACHER_KEYS:
            text = value_text(setting_of(set_value(self.settings, key, text), key))
        self.values[key] = text

    @property
    def missing(self) -> str:
        """The first value that is still required; empty when the job can start."""
        return next((what for key, what in NEEDED.items() if not self.values[key]), "")

    def words(self) -> list[str]:
        """The arguments of `qdl`: only what no default and no saved setting says already."""
        words = ["easydistill", "run", self.values["job"], self.values["input"]]
        for name in OPTIONS:
            if value := self.values[name]:
                words += [f"--{name}", value]
        changed = {key: self.values[key] for key, saved in self._saved().items() if self.values[key] != saved}
        if self.settings.teacher.kind != "server":
            changed = {"teacher.kind": "server"} | changed
        for key, text in changed.items():
            words += ["--set", f"{key}={text}"]
        return words


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
