"""What the app says: errors as a person reads them, what was copied and where, and its last words."""

from __future__ import annotations

import time
import traceback
from collections import deque
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on, work
from textual.binding import Binding
from textual.events import Key, Paste
from textual.worker import Worker, WorkerState

from qdl_engine.core.errors import LabError, from_system
from qdl_engine.core.lab import write_text_atomic
from qdl_engine.core.words import printable
from qdl_tui.shared.keys_in_turn import KeysInTurnApp
from qdl_tui.shared.messages import Said, TextCopied
from qdl_tui.shared.state import log_file

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

TELL_AGAIN = 30.0
"""Seconds before the same trouble is told again."""
LONGEST = 3.0
"""Seconds that what need not be read stays."""
UNTIL_READ = 24 * 3600.0
"""Seconds that an error stays when nobody takes it away."""
MOST_KEPT = 100
"""So many messages can be read again."""


class TellingApp(KeysInTurnApp):
    """An app that shows no traceback: it goes to a file, and the file is named."""

    BINDINGS = [
        Binding("ctrl+g", "messages", "Messages", show=False, tooltip="What the app said", id="app.messages"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}
        self._said: deque[str] = deque(maxlen=MOST_KEPT)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Say something over the screen: the one rule for how long it stays.

        What is only told goes with the next key, and after `LONGEST` at the latest. An error stays until esc
        takes it away. Both can be read again. No message is ever markup; `timeout` is not asked.
        """
        text = printable(message)
        self._said.append(f"{time.strftime('%H:%M:%S')}  {text}")
        if severity == "error":
            super().notify(f"{text}\n(esc)", title=title, severity=severity, timeout=UNTIL_READ, markup=False)
        else:
            super().notify(text, title=title, severity=severity, timeout=LONGEST, markup=False)

    async def take_key(self, key: Key | Paste) -> None:
        """A key takes away what was told; esc takes an error away, and does nothing else then."""
        if isinstance(key, Key) and self._dismiss(key.key):
            return
        await super().take_key(key)

    def _dismiss(self, key: str) -> bool:
        """Take messages away; whether the key is spent with that."""
        spent = False
        for notification in list(self._notifications):
            error = notification.severity == "error"
            if not error or key == "escape":
                self._unnotify(notification)
                spent = spent or error
        return spent

    def action_messages(self) -> None:
        """What was said, the newest first."""
        from qdl_tui.shared.dialogs import TextScreen

        self.push_screen(TextScreen("Messages", "\n".join(reversed(self._said)) or "Nothing was said yet."))

    def action_help_quit(self) -> None:
        """Ctrl+c is what people press to leave: say what does, and that it costs nothing."""
        keys = {active.binding.id: active.binding for active in self.active_bindings.values()}
        quits = keys.get("app.quit") or keys["app.quit_ctrl"]
        self.notify(f"{self.get_key_display(quits)} leaves the app; runs go on without it")

    def copy_to_clipboard(self, text: str, what: str = "") -> None:
        """Copy wherever it can go, and say where; `what` names it: "run id".

        Textual's own inputs copy through here too, so their text goes the same ways.
        """
        self._copy(text, what)

    @work(thread=True, exclusive=True, group="copy", exit_on_error=False)
    def _copy(self, text: str, what: str) -> None:
        from qdl_tui.shared.clipboard import copy

        self.post_message(TextCopied(copy(text), what))

    @on(TextCopied)
    def text_copied(self, message: TextCopied) -> None:
        self._clipboard = message.copied.text  # what ctrl+v puts into an input
        if message.copied.sequence and self._driver is not None:
            self._driver.write(message.copied.sequence)
        severity: SeverityLevel = "information" if message.copied.places else "error"
        sentence = message.copied.sentence(message.what)
        self.notify(sentence, severity=severity)

    @on(Said)
    def said(self, message: Said) -> None:
        self.notify(message.text, severity="error" if message.severe else "information")

    def tell_error(self, error: BaseException) -> None:
        """What went wrong, as a person reads it; the traceback of a defect goes to a file that is named."""
        if isinstance(error, OSError):
            error = from_system(error) or error
        if isinstance(error, LabError):
            self._tell_once(f"{error.message}. {error.hint}" if error.hint else error.message)
            return
        self._tell_once(f"{type(error).__name__}: {error}. {_write_trace(error)}")

    def _tell_once(self, text: str) -> None:
        """Say it; what fails at every tick is said once in a while, not at every tick."""
        now = time.monotonic()
        if now - self._told.get(text, -TELL_AGAIN) >= TELL_AGAIN:
            self._told[text] = now
            self.notify(text, severity="error")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.tell_error(event.worker.error)

    def _fatal_error(self) -> None:
        """The app cannot go on: two lines on the terminal instead of Textual's traceback with every local."""
        error = self._exception
        if error is None:
            super()._fatal_error()
            return
        what = f"qdl-tui ended by a defect of its own: {type(error).__name__}: {error}"
        where = f"{_write_trace(error)}. Runs go on; qdl does everything that the app does."
        self.panic(Text(printable(f"{what}\n{where}")))


def _write_trace(error: BaseException) -> str:
    """Write the traceback of a defect, and say where it is."""
    try:
        write_text_atomic(log_file(), "".join(traceback.format_exception(error)))
    except OSError:
        return "The details could not be written"
    return f"The details are in {log_file()}"
