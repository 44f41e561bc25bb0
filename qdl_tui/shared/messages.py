"""What workers tell the screens. Workers never touch a widget: they post one of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from qdl_engine.core.lab import Lab
from qdl_engine.lab_state.status import LabStatus, MachineStatus

if TYPE_CHECKING:
    from qdl_engine.runs.store import Run
    from qdl_tui.shared.clipboard import Copied
    from qdl_tui.shared.keymap import Keymap


@dataclass
class StatusRead(Message):
    """The lab was looked at."""

    lab: Lab
    status: LabStatus

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, StatusRead)


@dataclass
class MachineRead(Message):
    """GPU and disk were looked at."""

    machine: MachineStatus


@dataclass
class RunStarted(Message):
    """A detached run is on its way."""

    run: Run
    command: tuple[str, ...]


@dataclass
class LabCreated(Message):
    """A new lab lies on the disk."""

    lab: Lab
    demo: bool


@dataclass
class Said(Message):
    """Something to tell the user, from a worker that is done."""

    text: str
    severe: bool = False


@dataclass
class TextCopied(Message):
    """A text was copied; the terminal is still to be told."""

    copied: Copied
    what: str


@dataclass
class KeymapRead(Message):
    """The user's keys were held against the app's."""

    keymap: Keymap
