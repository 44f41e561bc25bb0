"""Keys and pastes that arrive together wait for each other: each goes to what the one before it opened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import chain

from textual.app import App
from textual.dom import DOMNode
from textual.events import Key, Paste
from textual.message_pump import MessagePump
from textual.screen import Screen

DIALOG = "dialog"
"""The group of workers that read what a dialog will show: the keys behind wait for it."""
LONGEST_TURN = 0.5
"""Idle seconds after which the next key is handled all the same: a handler may wait for something itself."""
SHORTEST_LOOK = 0.01
"""Seconds between two looks at whether that time is over."""


class HeldKeys:
    """The keys that wait for their turn.

    Textual hands a key to what has the focus when it reads the key, and reads the next. Over a slow link keys
    come in one packet: of `enter 5 0 0`, the digits would go to the list and not into the editor that `enter`
    is about to open, and `5` would show another screen.

    Args:
        app: The app whose keys these are.
        handle: Does what a key does, once its turn has come.
    """

    def __init__(self, app: App[None], handle: Callable[[Key | Paste], Awaitable[None]]) -> None:
        self._app = app
        self._handle = handle
        self._waiting: deque[Key | Paste] = deque()
        self._turn = 0
        self._in_turn = False
        self._shown: Screen[object] | None = None
        """The screen on show when the turn began."""

    async def take(self, key: Key | Paste) -> None:
        """Handle a key now, or after those before it."""
        if not self._in_turn:
            await self._begin_turn(key)
            return
        self._waiting.append(key)
        if len(self._waiting) == 1:
            self._end_turn_in_time()

    async def _begin_turn(self, key: Key | Paste) -> None:
        self._in_turn = True
        self._turn += 1
        self._shown = self._app.screen
        await self._handle(key)
        await self._settle(self._turn)

    async def _settle(self, turn: int) -> None:
        """Wait for what a key started, and end its turn.

        That takes up to two ways to the app: a widget's message to its screen, and the screen's change of
        focus. The callbacks are the last in every queue on the way.
        """
        await self._follow(turn, chain(self._way_up(), self._way_up()))

    def _way_up(self) -> Iterator[MessagePump]:
        """What handles a key now, from the focus up to the app."""
        handler: DOMNode = self._app.focused or self._app.screen
        yield from handler.ancestors_with_self

    async def _follow(self, turn: int, way: Iterator[MessagePump]) -> None:
        """Take the next step of the way once the one before it has emptied its queue."""
        if turn != self._turn:
            return
        if not any(handler.call_later(self._follow, turn, way) for handler in way):
            await self._be_read(turn, waited=False)

    async def _be_read(self, turn: int, *, waited: bool) -> None:
        """Wait for a worker that reads for a dialog; its result then comes through the queues like a key."""
        if turn != self._turn:
            return
        if any(worker.group == DIALOG and not worker.is_finished for worker in self._app.workers):
            self._app.set_timer(SHORTEST_LOOK, partial(self._be_read, turn, waited=True))
        elif waited:
            await self._settle(turn)
        else:
            await self._be_shown(turn)

    async def _be_shown(self, turn: int) -> None:
        """End the turn. A screen that the key opened is laid out first: before, it has nothing to scroll."""
        screen = self._app.screen
        opened = screen is not self._shown
        # The app itself hands on the next key: a screen that waits for its own end would wait for ever.
        if not (opened and screen.call_after_refresh(self._app.call_later, self._end_turn, turn)):
            await self._end_turn(turn)

    async def _end_turn(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._in_turn = False
        if self._waiting:
            await self._begin_turn(self._waiting.popleft())
        if self._waiting:
            self._end_turn_in_time()

    def _end_turn_in_time(self) -> None:
        """End the turn after a while: a widget may wait for something, or be gone with its queue."""
        self._look_again(self._turn, _idle() + LONGEST_TURN)

    def _look_again(self, turn: int, end: float) -> None:
        self._app.set_timer(max(SHORTEST_LOOK, end - _idle()), partial(self._end_turn_by, turn, end))

    async def _end_turn_by(self, turn: int, end: float) -> None:
        if turn == self._turn and self._in_turn and _idle() < end:
            self._look_again(turn, end)
        else:
            await self._end_turn(turn)


def _idle() -> float:
    """Seconds in which this thread did nothing: a slow machine that builds a screen is not waiting."""
    return time.monotonic() - time.thread_time()
