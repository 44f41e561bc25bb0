"""What a screen calls outside itself: the app that shows it, and the engine in a process of its own.

Screens know the app by `Host` alone. They never import `qdl_tui.app`, which imports all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from textual.screen import Screen

from qdl_engine.core.lab import Lab
from qdl_tui.shared.state import UserState

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.lab_state.status import Step
    from qdl_tui.shared.draft import Draft

Answer = TypeVar("Answer")


class Host(Protocol):
    """The app as its screens see it."""

    lab: Lab
    """The lab that is open; it need not exist yet."""
    state: UserState
    """What the app remembers of its user; `save_state` writes it."""
    run_id: str
    """The run on the training screen; empty for the one most worth watching."""
    draft: Draft | None
    """The settings being edited: one draft, whichever recipe is on show."""
    wanted_setting: str
    """The setting that the next recipe on show puts its cursor on."""

    def save_state(self) -> object: ...

    def tell_error(self, error: BaseException) -> None:
        """Show what went wrong, with a hint where there is one."""

    def copy_to_clipboard(self, text: str, what: str = "") -> None:
        """Copy `text` and say where it went; `what` names it: "run id"."""

    def push_screen(
        self, screen: Screen[Answer], callback: Callable[[Answer | None], None] | None = None
    ) -> object: ...

    def open_lab(self, lab: Lab) -> None: ...

    def create_lab(self, lab: Lab, *, demo: bool) -> object:
        """Write a new lab or the demo lab, and open it."""

    def start_step(self, step: Step) -> None:
        """Do one step: on its own screen, or as a detached run."""

    def start_job(self, command: tuple[str, ...]) -> None:
        """Start a detached run of `qdl COMMAND`; a training shows its preflight first."""

    def show_preflight(
        self,
        system: System,
        *,
        overrides: Sequence[str] = (),
        command: tuple[str, ...] = (),
        start: Callable[[tuple[str, ...]], object] | None = None,
    ) -> None:
        """Check memory and time of a training; `start` gets the command that the user agreed to."""

    def attach(self, run_id: str) -> None:
        """Show a run on the training screen, and remember it."""

    def show_setting(self, key: str) -> None:
        """Go to one setting of a recipe."""

    async def show_comparison(self, name: str) -> None:
        """Open a saved comparison on the compare screen."""


async def ask_engine(*words: str) -> bytes:
    """What `qdl WORDS` prints: what needs a heavy library stays out of the app.

    Cancelling the caller ends the process.
    """
    from qdl_engine.runs.launch import CHILD_ENVIRONMENT, python_command

    process = await asyncio.create_subprocess_exec(
        *python_command("qdl_engine.cli", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **CHILD_ENVIRONMENT},
        start_new_session=True,
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return printed
