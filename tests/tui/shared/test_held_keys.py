"""Keys that come in one packet, as over a slow link, do what they do one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Input, Static

from qdl_engine.core.lab import Lab
from qdl_tui.shared.held_keys import HeldKeys
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import screen_text, settled

NAMES = {
    "/": ("slash", "/"),
    "&": ("ampersand", "&"),
    "\r": ("enter", "\r"),
    "\x15": ("ctrl+u", None),
    "\x13": ("ctrl+s", None),
    "\x11": ("ctrl+q", None),
    "?": ("question_mark", "?"),
    "G": ("G", "G"),
}


def typed_ahead(app: App[None], keys: str) -> None:
    """All at once, before the first of them is handled."""
    for key in keys:
        app.post_message(events.Key(*NAMES.get(key, (key, key))))


async def test_what_a_key_opens_gets_the_keys_behind_it(lab: Lab) -> None:
    finished_run(lab)
    async with opened(lab) as (app, pilot):
        typed_ahead(app, "2")
        await settled(app, pilot)
        typed_ahead(app, "/rows\r\r\x1525\r")
        await settled(app, pilot)
        assert app.draft is not None and app.draft.current.system1.rows == 25
        assert "[2 System 1]" in screen_text(app), "no digit went past the editor"
        typed_ahead(app, "4")
        await settled(app, pilot)
        typed_ahead(app, "/")
        app.post_message(events.Paste("\r\nabsent\rfor\x1b\r\n"))
        typed_ahead(app, "\r")
        await settled(app, pilot)
        assert "[4 Runs]" in screen_text(app) and "absent for␛ " in screen_text(app)


async def test_a_screen_that_a_key_opens_can_be_scrolled_by_the_next_and_left_by_the_one_after(
    lab: Lab,
) -> None:
    async with opened(lab) as (app, pilot):
        typed_ahead(app, "?G")
        await settled(app, pilot)
        shown = screen_text(app)
        assert "This help" in shown and "This screen" not in shown, "its end is on show"
        typed_ahead(app, "q?q?q2")
        await settled(app, pilot)
        assert "[2 System 1]" in screen_text(app)


async def test_what_was_typed_behind_the_key_that_leaves_is_not_done(lab: Lab) -> None:
    run = finished_run(lab)
    async with opened(lab, "4") as (app, pilot):
        typed_ahead(app, "j\x11dy2?")
        await pilot.pause()
        assert app._exit
    assert run.record_file.is_file()


class Holding(Input):
    """Holds a key for as long as it likes."""

    async def on_key(self) -> None:
        await self.app.query_one(Gate).opened.wait()


class Gate(Static):
    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()


class HeldUp(App[None]):
    BINDINGS = [Binding("f5", "open", "Open", priority=True)]

    def __init__(self) -> None:
        super().__init__()
        self.held_keys = HeldKeys(self, super().on_event)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            await self.held_keys.take(event)
        else:
            await super().on_event(event)

    def compose(self) -> ComposeResult:
        yield Holding()
        yield Gate()

    def action_open(self) -> None:
        self.query_one(Gate).opened.set()


@asynccontextmanager
async def held_up() -> AsyncIterator[tuple[HeldUp, Pilot[None]]]:
    """A key that a widget holds, and behind it the one that would let it go."""
    app = HeldUp()
    async with app.run_test() as pilot:
        app.query_one(Holding).focus()
        await pilot.pause()
        app.post_message(events.Key("w", "w"))
        app.post_message(events.Key("f5", None))
        yield app, pilot


async def test_a_widget_that_waits_does_not_hold_up_the_keyboard() -> None:
    async with held_up() as (app, pilot):
        await app.query_one(Gate).opened.wait()
        await pilot.pause()
        assert app.query_one(Holding).value == "w"


async def test_a_slow_machine_is_not_taken_for_a_widget_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = [0.0]
    monkeypatch.setattr("qdl_tui.shared.held_keys._idle", lambda: idle[0])
    monkeypatch.setattr("qdl_tui.shared.held_keys.LONGEST_TURN", 0.02)
    async with held_up() as (app, pilot):
        await pilot.pause(0.2)
        assert not app.query_one(Gate).opened.is_set(), "no idle moment has passed"
        idle[0] = 1.0
        await app.query_one(Gate).opened.wait()
        await pilot.pause()
        assert app.query_one(Holding).value == "w"


async def test_a_dialog_that_is_read_first_gets_its_answer(lab: Lab) -> None:
    runs = [finished_run(lab) for _ in range(3)]
    async with opened(lab, "4") as (app, pilot):
        typed_ahead(app, "gxnjxnkxnGx")
        await settled(app, pilot)
        assert f"Delete run {runs[0].id}?" in screen_text(app)
        typed_ahead(app, "ygx")
        await settled(app, pilot)
        assert f"Delete run {runs[2].id}?" in screen_text(app) and not runs[0].directory.exists()
