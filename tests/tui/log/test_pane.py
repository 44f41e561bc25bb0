"""The log pane by its keys, at 36x8: seven rows of lines and the status row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.events import Key
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from qdl_tui.log import file as log_file
from qdl_tui.log.file import BLOCK
from qdl_tui.log.pane import LogPane


class PaneApp(App[None]):
    BINDINGS = [("escape", "escaped", "Back"), ("q", "quit", "Quit")]

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.pane = LogPane(path)
        self.escaped = False

    def compose(self) -> ComposeResult:
        yield self.pane

    def on_mount(self) -> None:
        self.pane.focus()

    def action_escaped(self) -> None:
        self.escaped = True

    def rows(self) -> list[str]:
        """The screen, without the scroll bar in the last column."""
        rows = [
            "".join(segment.text for segment in strip) for strip in self.screen._compositor.render_strips()
        ]
        return [row[:-1].rstrip() for row in rows[:-1]] + [rows[-1].rstrip()]


class Keys:
    """Presses keys, and lets the pane come to rest after them."""

    def __init__(self, pilot: Pilot[None], pane: LogPane) -> None:
        self.pilot, self.pane = pilot, pane

    async def __call__(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        self.pane.view.tick()
        with suppress(WorkerCancelled):  # A new search or filter replaces the one before.
            await self.pilot.app.workers.wait_for_complete()
        await self.pilot.pause()


@asynccontextmanager
async def opened(path: Path | None) -> AsyncIterator[tuple[PaneApp, Keys]]:
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        press = Keys(pilot, app.pane)
        await press()
        yield app, press


def write(path: Path, first: int, last: int) -> None:
    with open(path, "a") as handle:
        handle.writelines(f"line {number}\n" for number in range(first, last + 1))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "output.log"
    write(path, 1, 100)
    return path


async def test_follows_until_an_upward_key_and_then_holds_still(log: Path) -> None:
    async with opened(log) as (app, press):
        assert app.rows() == [*(f"line {n}" for n in range(94, 101)), " FOLLOW  100/100"]
        write(log, 101, 110)
        await press()
        assert app.rows()[6] == "line 110"
        await press("k")
        held = app.rows()
        assert held[0] == "line 103"
        assert held[7].startswith(" +1 lines ")
        write(log, 111, 1344)
        await press()
        assert app.rows()[:7] == held[:7]
        assert app.pane.status.startswith(" +1,235 lines ")
        await press("j", "pagedown")
        assert not app.pane.view.follow
        await press("G")
        assert app.rows()[6:] == ["line 1344", " FOLLOW  1,344/1,344"]


async def test_every_way_upwards_holds_and_a_bigger_window_does_not(log: Path) -> None:
    async with opened(log) as (app, press):
        view = app.pane.view
        for key in ("k", "up", "pageup", "ctrl+u", "g", "home", "ctrl+b"):
            await press(key)
            assert not view.follow, key
            await press("end")
            assert view.follow, key
        await press.pilot.resize_terminal(60, 20)
        await press()
        assert view.follow
        assert app.rows()[18] == "line 100"
        view.action_scroll_up()  # The wheel.
        view.scroll_to(y=50, animate=False)
        await press()
        assert not view.follow


async def test_search_next_previous_and_round(log: Path) -> None:
    async with opened(log) as (app, press):
        view = app.pane.view
        await press("slash", *"line 5", "enter")
        assert view.current == 58  # Following: the last one.
        assert not view.follow
        for key, line in (("N", 57), ("n", 58), ("n", 4)):
            await press(key)
            assert view.current == line
        assert "search wrapped around" in app.pane.status
        segments = [s for strip in app.screen._compositor.render_strips() for s in strip]
        assert any("line 5" in s.text for s in segments if s.style and s.style.reverse)
        await press("slash", *"absent", "enter")
        assert "not found: absent" in app.rows()[7]
        await press("slash", "ctrl+r", "left_square_bracket", "enter")
        assert "not a regular expression" in app.pane.status


async def test_filter_hides_lines_and_keeps_up(log: Path) -> None:
    async with opened(log) as (app, press):
        await press("ampersand", *"9", "enter")
        assert app.rows()[:7] == [f"line {n}" for n in (93, 94, 95, 96, 97, 98, 99)]
        assert "&9 19" in app.rows()[7]
        write(log, 101, 109)
        await press()
        assert app.rows()[6] == "line 109"
        await press("slash", "7", "enter")
        assert app.pane.view.current == 96
        await press("ampersand", *"!line", "enter")
        assert app.rows()[0] == ""
        await press("escape")
        assert "109" in app.rows()[7]
        await press("escape")
        assert not app.escaped
        await press("escape")
        assert app.escaped


async def test_keys_sent_in_one_burst_reach_the_prompt(log: Path) -> None:
    async with opened(log) as (app, press):
        for key, character in [("slash", "/"), *((c, c) for c in "line"), ("space", " "), ("7", "7")]:
            app.post_message(Key(key, character))
        await press()
        assert app.rows()[7] == "/line 7"
        await press("enter")
        assert app.pane.view.current == 78


async def test_keys_typed_into_the_prompt_stay_there(log: Path) -> None:
    async with opened(log) as (app, press):
        await press("slash", *"qnwGk")
        assert app.rows()[7].startswith("/qnwGk")
        shown = {active.binding.id for active in app.screen.active_bindings.values() if active.binding.show}
        assert {"log.regex", "log.cancel"} <= shown
        assert app.pane.view.follow
        await press("escape", "w")
        assert app.pane.view.wrap
        assert not app.escaped


async def test_a_keymap_moves_the_keys_by_their_ids(log: Path) -> None:
    async with opened(log) as (app, press):
        app.set_keymap({"log.search": "s", "log.up": "u", "log.follow": "f"})
        await press("u")
        assert not app.pane.view.follow
        await press("f")
        assert app.pane.view.follow
        await press("s", "s")
        assert app.rows()[7] == "/s"


async def test_go_to_line(log: Path) -> None:
    async with opened(log) as (app, press):
        for where, first in (("20", "line 20"), ("50%", "line 51"), ("999", "line 94")):
            await press("colon", *(key.replace("%", "percent_sign") for key in where), "enter")
            assert app.rows()[0] == first
        assert "last line is 100" in app.pane.status
        await press("colon", "x", "enter")
        assert "no line 'x'" in app.pane.status
        await press("colon", "dollar_sign", "enter")
        assert app.pane.view.follow


async def test_wide_lines_pan_or_wrap(tmp_path: Path) -> None:
    path = tmp_path / "wide.log"
    wide = "".join(chr(97 + n // 5 % 26) for n in range(100))
    path.write_text(f"short\n{wide}\nlast\n")
    async with opened(path) as (app, press):
        assert app.rows()[1].startswith("aaaaabbbbb")
        await press("l")
        assert app.rows()[1].startswith("dddeeeee")
        assert "→" in app.rows()[7]
        await press("h", "h", "w")
        assert "".join(app.rows()[1:4]) == wide
        assert app.rows()[4] == "last"
        path.write_text(path.read_text() * 3)
        await press()
        assert app.rows()[6] == "last"
        await press("k")
        assert not app.pane.view.follow
        await press("g")
        assert app.rows()[0] == "short"


async def test_a_log_that_does_not_exist_yet_and_one_that_is_replaced(tmp_path: Path, log: Path) -> None:
    async with opened(None) as (app, press):
        assert "no log" in app.rows()[7]
        later = tmp_path / "later.log"
        app.pane.show_file(later)
        await press("slash", "x", "enter")
        assert "no log yet" in app.rows()[7]
        write(later, 1, 3)
        await press()
        assert app.rows()[:3] == ["line 1", "line 2", "line 3"]
        later.write_text("other\n")
        await press()
        assert app.rows()[:2] == ["other", ""]
        assert "log truncated or replaced" in app.pane.status
        app.pane.show_file(log)
        await press()
        assert app.rows()[6] == "line 100"
        await press("k")
        app.pane.show_file(log)
        assert not app.pane.view.follow


async def test_terminal_controls_in_the_log_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.log"
    path.write_bytes(b"\x1b[2J\x1b]52;c;aGk=\x07\x1b[31mred\x1b[0m\n\r 10%\r 20%")
    async with opened(path) as (app, _):
        assert app.rows()[:2] == ["␛[2J␛]52;c;aGk=␇red", " 20%"]


async def test_big_file_opens_at_its_end_and_is_numbered_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "EAGER", 4 * BLOCK)
    monkeypatch.setattr(log_file, "TAIL", BLOCK)
    path = tmp_path / "big.log"
    write(path, 1, 100_000)
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        press = Keys(pilot, app.pane)
        await press("g")
        assert app.rows()[0] == "line 1"
        await press("colon", *"54321", "enter")
        assert app.rows()[0] == "line 54321"
        await press("G")
        assert app.rows()[6:] == ["line 100000", " FOLLOW  100,000/100,000"]
        path.unlink()
        write(path, 1, 100_000)
        app.pane.view.tick()
        assert "numbering" in app.pane.status
        app.pane.search("line 77777")  # Before the lines are numbered.
        await press()
        assert app.pane.view.current == 77_776


@pytest.mark.parametrize("letters", ["abcdefghijklmnopqrstuvwxyz", "损失函数训练步骤"])
async def test_a_wrapped_line_taller_than_the_pane_is_read_to_its_end(tmp_path: Path, letters: str) -> None:
    path = tmp_path / "tall.log"
    tall = "".join(f"{number}{letters[number % len(letters)]}" for number in range(160))
    path.write_text(f"first\n{tall}\nlast\n", encoding="utf-8")
    async with opened(path) as (app, press):
        await press("w", "g")
        shown = [app.rows()[0]]
        for _ in range(25):
            await press("j")
            if app.rows()[0] != shown[-1]:
                shown.append(app.rows()[0])
        assert "".join(shown) == f"first{tall}last"
        await press(*"k" * len(shown))
        assert app.rows()[0] == "first"
        await press("pagedown")
        assert app.rows()[0] == shown[6]


async def test_following_a_wrapped_line_taller_than_the_pane_shows_its_end(tmp_path: Path) -> None:
    path = tmp_path / "tall.log"
    path.write_text("first\n" + "x" * 400 + "END\n")
    async with opened(path) as (app, press):
        await press("w")
        assert app.rows()[6].endswith("END")
        await press(*"k" * 20)
        assert app.rows()[0] == "first"


async def test_a_match_split_by_colours_or_beside_the_view_is_found_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "colours.log"
    lines = ["plain"] * 20 + ["." * 300 + "er\x1b[31mr\x1b[1mor\x1b[0m here"] + ["plain"] * 20
    path.write_text("\n".join(lines) + "\n")
    async with opened(path) as (app, press):
        await press("slash", *"error here", "enter")
        assert app.pane.view.current == 20
        assert any("error here" in row for row in app.rows())
        await press("w", "N")
        assert any("error" in row for row in app.rows())
        await press("ampersand", *"error here", "enter")
        assert "&error here 1" in app.pane.status
