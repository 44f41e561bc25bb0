"""The values of the form, and the `qdl` command that they make."""

from __future__ import annotations

import shlex

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.upstream.version2 import INPUT_HELP, JOBS, OPTIONS

SERVER = "teacher.kind=server teacher.url= teacher.model="
"""Where the lab's teacher is not a server, its name means nothing to one."""
FIELDS = {
    "job": "what EasyDistill 2.x makes",
    "input": INPUT_HELP,
    "settings": "for this job only, such as teacher.temperature=0.8 teacher.max_new_tokens=512",
    **OPTIONS,
}
"""The rows of the form, with their help."""


class SynthesisForm:
    """A job of EasyDistill 2.x; only what differs from defaults and from `qdl.toml` is typed.

    Args:
        lab: Where the job will run.

    Raises:
        SettingsError: when the lab's settings cannot be read.
    """

    def __init__(self, lab: Lab) -> None:
        from qdl_engine.settings.toml import load_settings

        there = lab.train_instructions.is_file()
        self.values = dict.fromkeys(FIELDS, "") | {
            "job": next(iter(JOBS)),
            "input": str(lab.train_instructions) if there else "",
            "settings": "" if load_settings(lab).teacher.kind == "server" else SERVER,
        }

    def set(self, name: str, text: str) -> None:
        """Take a value as it was typed; `qdl ... --dry-run` judges what it means.

        Raises:
            SettingsError: when settings have an open quote; the form keeps the value before.
        """
        if name == "settings":
            try:
                shlex.split(text)
            except ValueError as cause:
                raise SettingsError(f"settings: {cause}", "Close the quote.") from cause
        self.values[name] = text

    @property
    def missing(self) -> str:
        """What must be typed first; empty when the job can start."""
        return "" if self.values["input"] else "Questions file required"

    def words(self) -> list[str]:
        """The arguments of `qdl`."""
        words = ["easydistill", "run", self.values["job"], self.values["input"]]
        for name in OPTIONS:
            if value := self.values[name]:
                words += [f"--{name}", value]
        for setting in shlex.split(self.values["settings"]):
            words += ["--set", setting]
        return words
