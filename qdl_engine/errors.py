"""What a person reads when something goes wrong."""

from __future__ import annotations


class LabError(Exception):
    """An error a person can meet: what happened, where, and what to do about it.

    Args:
        message: What happened and where, in one sentence.
        hint: What to do about it; may be empty when the message already says it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SettingsError(LabError):
    """A setting, a file of settings or a command line that cannot be accepted."""

    exit_code = 2


class DataError(LabError):
    """A source that cannot be read, or that leaves no rows."""


class ModelError(LabError):
    """A model that is missing, is no model, or does not fit."""


class RunError(LabError):
    """A run that cannot be started, found, stopped or resumed."""


class LabBusyError(LabError):
    """Another process writes in this lab; the message names it."""
