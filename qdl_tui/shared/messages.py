"""The app's messages: how long each stays, what clears it, errors and their tracebacks, the clipboard."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.app import App
from textual.message import Message

from qdl_engine.core.errors import LabError, from_system
from qdl_engine.core.lab import write_text_atomic
from qdl_engine.core.words import printable
from qdl_tui.shared.state import log_file

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

REPEAT_AFTER = 30.0
"""Seconds before the same error is shown again."""
LONGEST = 3.0
"""Seconds that a message stays which is no error."""
UNTIL_READ = 24 * 3600.0
"""Seconds that an error stays when nobody clears it."""
MOST_KEPT = 100
"""So many messages can be read again."""


@dataclass
class Said(Message):
    """A message for the user, from a worker."""

    text: str
    severe: bool = False


class Messages:
    """What the app shows over its screens.

    The next key clears a message, and `LONGEST` does at the latest. An error stays until esc. Both can be
    read again. No traceback is shown: it goes to a file, and the message names the file.
    """

    def __init__(self, app: App[None]) -> None:
        self._app = app
        self._errors: dict[str, float] = {}
        """When each error was last shown."""
        self._kept: deque[str] = deque(maxlen=MOST_KEPT)

    def keep(self, message: str, severity: SeverityLevel) -> tuple[str, float]:
        """Keep a message to be read again; its text as it is shown, and for how many seconds."""
        text = printable(message)
        self._kept.append(f"{time.strftime('%H:%M:%S')}  {text}")
        return (f"{text}\n(esc)", UNTIL_READ) if severity == "error" else (text, LONGEST)

    @property
    def history(self) -> str:
        """All messages that are kept, the newest first."""
        return "\n".join(reversed(self._kept)) or "No messages yet."

    def clear(self, key: str) -> bool:
        """Clear what `key` clears; whether the key has done its work with that."""
        spent = False
        for notification in list(self._app._notifications):
            error = notification.severity == "error"
            if not error or key == "escape":
                self._app._unnotify(notification)
                spent = spent or error
        return spent

    def tell_error(self, error: BaseException) -> None:
        """Show what went wrong; an error that comes at every tick is shown once in a while."""
        text = _error_text(error)
        now = time.monotonic()
        if now - self._errors.get(text, -REPEAT_AFTER) >= REPEAT_AFTER:
            self._errors[text] = now
            self._app.notify(text, severity="error")

    def copy(self, text: str, what: str) -> None:
        """Copy `text` wherever it can go, and say where; `what` names it: "run id"."""
        self._app.run_worker(self._copy(text, what), group="copy", exclusive=True, exit_on_error=False)

    async def _copy(self, text: str, what: str) -> None:
        from qdl_tui.shared.clipboard import copy

        copied = await asyncio.to_thread(copy, text)
        self._app._clipboard = copied.text  # what ctrl+v puts into an input
        if copied.sequence and self._app._driver is not None:
            self._app._driver.write(copied.sequence)
        self._app.notify(copied.sentence(what), severity="information" if copied.places else "error")


def _error_text(error: BaseException) -> str:
    """The error and its hint; for a defect, its type and the file with its traceback."""
    if isinstance(error, OSError):
        error = from_system(error) or error
    if isinstance(error, LabError):
        return f"{error.message}. {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}. {_write_trace(error)}"


def last_words(error: BaseException) -> str:
    """Two lines for the terminal that a defect of the app leaves behind."""
    what = f"qdl-tui stopped on an error of its own: {type(error).__name__}: {error}"
    return printable(f"{what}\n{_write_trace(error)}. Runs continue; qdl does all that the app does.")


def _write_trace(error: BaseException) -> str:
    """Write the traceback of a defect, and say where it is."""
    try:
        write_text_atomic(log_file(), "".join(traceback.format_exception(error)))
    except OSError:
        return "The details could not be written"
    return f"The details are in {log_file()}"
