"""Keys and pastes that arrive together are handled in turn, each by what the one before it opened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.message_pump import MessagePump
from textual.screen import Screen

DIALOG = "dialog"
"""The group of workers that read what a dialog will show: the keys behind wait for it."""
LONGEST_TURN = 0.5
"""Idle seconds after which the next key is handled all the same: a handler may wait for something itself."""
SHORTEST_LOOK = 0.01
"""Seconds between two looks at whether that time is over."""


class KeysInTurnApp(App[None]):
    """An app that takes type-ahead.

    Textual hands a key to what has the focus when the key is read, and goes on to the next. Over a slow link
    keys come in one packet: of `enter 5 0 0`, the digits would go to the list and not into the editor that
    `enter` is about to open, and `5` would show another screen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting_keys: deque[events.Key | events.Paste] = deque()
        self._turn = 0
        self._in_turn = False
        self._shown: Screen[object] | None = None
        """What was on show when the turn began."""

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._in_turn:
            self._waiting_keys.append(event)
            if len(self._waiting_keys) == 1:
                self._end_turn_in_time()
        else:
            await self._hand_on(event)

    async def _hand_on(self, key: events.Key | events.Paste) -> None:
        self._in_turn = True
        self._turn += 1
        self._shown = self.screen
        await self.take_key(key)
        await self._settle(self._turn)

    async def take_key(self, key: events.Key | events.Paste) -> None:
        """Do what a key does, now that its turn has come."""
        await super().on_event(key)

    async def _settle(self, turn: int) -> None:
        """Wait for what a key set going, and end its turn.

        That takes up to two ways to the app: a widget's message to its screen, and the screen's change of
        focus. The callbacks are the last in every queue on the way.
        """
        await self._follow(turn, chain(self._way_up(), self._way_up()))

    def _way_up(self) -> Iterator[MessagePump]:
        """What handles a key now, from the focus up to the app."""
        handler: DOMNode = self.focused or self.screen
        yield from handler.ancestors_with_self

    async def _follow(self, turn: int, way: Iterator[MessagePump]) -> None:
        """Go on along the way, once whoever is asked now has done what was in its queue."""
        if turn != self._turn:
            return
        if not any(handler.call_later(self._follow, turn, way) for handler in way):
            await self._be_read(turn, waited=False)

    async def _be_read(self, turn: int, *, waited: bool) -> None:
        """A dialog may be on its way; what it was read for then comes through the queues like a key."""
        if turn != self._turn:
            return
        if any(worker.group == DIALOG and not worker.is_finished for worker in self.workers):
            self.set_timer(SHORTEST_LOOK, partial(self._be_read, turn, waited=True))
        elif waited:
            await self._settle(turn)
        else:
            await self._be_shown(turn)

    async def _be_shown(self, turn: int) -> None:
        """End the turn; a screen that the key opened is laid out first, or there was nothing to scroll in."""
        opened = self.screen is not self._shown
        # The app itself hands on the next key: a screen that waits for its own end would wait without end.
        if not (opened and self.screen.call_after_refresh(self.call_later, self._end_turn, turn)):
            await self._end_turn(turn)

    async def _end_turn(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._in_turn = False
        if self._waiting_keys:
            await self._hand_on(self._waiting_keys.popleft())
        if self._waiting_keys:
            self._end_turn_in_time()

    def _end_turn_in_time(self) -> None:
        """A widget may wait for something, or be gone with what was in its queue."""
        self._look_again(self._turn, _idle() + LONGEST_TURN)

    def _look_again(self, turn: int, end: float) -> None:
        self.set_timer(max(SHORTEST_LOOK, end - _idle()), partial(self._end_turn_by, turn, end))

    async def _end_turn_by(self, turn: int, end: float) -> None:
        if turn == self._turn and self._in_turn and _idle() < end:
            self._look_again(turn, end)
        else:
            await self._end_turn(turn)


def _idle() -> float:
    """Seconds in which this thread did nothing: a slow machine that builds a screen is not waiting."""
    return time.monotonic() - time.thread_time()
