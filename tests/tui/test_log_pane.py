"""The log pane by its keys, at 36x8: seven rows of lines and the status row."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.events import Key
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from qdl_tui.widgets import log_file
from qdl_tui.widgets.log_index import BLOCK
from qdl_tui.widgets.log_pane import LogPane


class PaneApp(App[None]):
    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path = path
        self.escaped = False

    BINDINGS = [("escape", "escaped", "Back"), ("q", "quit", "Quit")]

    def compose(self) -> ComposeResult:
        yield LogPane(self.path)

    def on_mount(self) -> None:
        self.query_one(LogPane).focus()

    def action_escaped(self) -> None:
        self.escaped = True


def screen(app: App[None]) -> list[str]:
    """The rows, without the scroll bar in the last column."""
    rows = ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]
    return [row[:-1].rstrip() for row in rows[:-1]] + [rows[-1].rstrip()]


def write(path: Path, first: int, last: int) -> None:
    with open(path, "a") as handle:
        handle.writelines(f"line {number}\n" for number in range(first, last + 1))


async def settle(pilot: Pilot[None]) -> None:
    """Take in the file now, and let workers and messages come to rest."""
    pilot.app.query_one(LogPane).view.tick()
    with suppress(WorkerCancelled):  # One search or filter takes the place of another.
        await pilot.app.workers.wait_for_complete()
    await pilot.pause()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "output.log"
    write(path, 1, 100)
    return path


async def test_follows_until_an_upward_key_and_then_holds_still(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        pane = app.query_one(LogPane)
        assert screen(app) == [*(f"line {n}" for n in range(94, 101)), " FOLLOW  100/100"]
        write(log, 101, 110)
        await settle(pilot)
        assert screen(app)[6] == "line 110"
        await pilot.press("k")
        assert not pane.follow
        held = screen(app)
        assert held[0] == "line 103"
        assert held[7].startswith(" +1 lines ")
        write(log, 111, 1344)
        await settle(pilot)
        assert screen(app)[:7] == held[:7]
        assert pane.status.startswith(" +1,235 lines ")
        await pilot.press("j", "pagedown")
        assert not pane.follow
        await pilot.press("G")
        await settle(pilot)
        assert pane.follow
        assert screen(app)[6] == "line 1344"


@pytest.mark.parametrize("key", ["k", "up", "pageup", "ctrl+u", "g", "home", "ctrl+b"])
async def test_every_upward_key_holds(log: Path, key: str) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        await pilot.press(key)
        assert not app.query_one(LogPane).follow
        await pilot.press("end")
        assert app.query_one(LogPane).follow


async def test_wheel_holds_and_a_bigger_window_does_not(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        pane = app.query_one(LogPane)
        await pilot.resize_terminal(60, 20)
        await settle(pilot)
        assert pane.follow
        assert screen(app)[18] == "line 100"
        pane.view.action_scroll_up()
        pane.view.scroll_to(y=50, animate=False)
        await pilot.pause()
        assert not pane.follow


async def test_search_next_previous_and_round(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        pane = app.query_one(LogPane)
        await pilot.press("slash", *"line 5", "enter")
        await settle(pilot)
        assert pane.view.current == 58  # Following: the last one.
        assert not pane.follow
        await pilot.press("N")
        await settle(pilot)
        assert pane.view.current == 57
        for line in (58, 4):
            await pilot.press("n")
            await settle(pilot)
            assert pane.view.current == line
        assert "search went round" in pane.status
        marked = [
            s
            for strip in app.screen._compositor.render_strips()
            for s in strip
            if s.style and s.style.reverse
        ]
        assert any("line 5" in segment.text for segment in marked)
        pane.search("absent")
        await settle(pilot)
        assert "not found: absent" in screen(app)[7]
        await pilot.press("slash", "ctrl+r", "left_square_bracket", "enter")
        await settle(pilot)
        assert "not a regular expression" in pane.status


async def test_filter_hides_lines_and_keeps_up(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        pane = app.query_one(LogPane)
        await pilot.press("ampersand", *"9", "enter")
        await settle(pilot)
        assert screen(app)[:7] == [f"line {n}" for n in (93, 94, 95, 96, 97, 98, 99)]
        assert "&9 19" in screen(app)[7]
        write(log, 101, 109)
        await settle(pilot)
        assert screen(app)[6] == "line 109"
        pane.search("7")
        await settle(pilot)
        assert pane.view.current == 96
        pane.set_filter("!line")
        await settle(pilot)
        assert screen(app)[0] == ""
        await pilot.press("escape")
        await settle(pilot)
        assert "109" in screen(app)[7]
        await pilot.press("escape")
        assert not app.escaped
        await pilot.press("escape")
        assert app.escaped


async def test_keys_sent_in_one_burst_reach_the_prompt(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        pane = app.query_one(LogPane)
        for key, character in [("slash", "/"), *((c, c) for c in "line"), ("space", " "), ("7", "7")]:
            app.post_message(Key(key, character))
        await settle(pilot)
        assert screen(app)[7] == "/line 7"
        app.post_message(Key("enter", "\r"))
        await settle(pilot)
        await settle(pilot)
        assert pane.view.current == 78


async def test_keys_typed_into_the_prompt_stay_there(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"qnwGk")
        assert screen(app)[7].startswith("/qnwGk")
        assert app.query_one(LogPane).follow
        await pilot.press("escape", "w")
        assert app.query_one(LogPane).view.wrap
        assert not app.escaped


async def test_a_keymap_moves_the_keys_by_their_ids(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        app.set_keymap({"log.search": "s", "log.up": "u", "log.follow": "f"})
        await settle(pilot)
        pane = app.query_one(LogPane)
        await pilot.press("u")
        assert not pane.follow
        await pilot.press("f")
        assert pane.follow
        await pilot.press("s", "s")
        assert screen(app)[7] == "/s"


@pytest.mark.parametrize(("where", "first"), [("20", "line 20"), ("50%", "line 51"), ("999", "line 94")])
async def test_go_to_line(log: Path, where: str, first: str) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        await pilot.press("colon", *(key.replace("%", "percent_sign") for key in where), "enter")
        await settle(pilot)
        assert screen(app)[0] == first
        app.query_one(LogPane).goto("x")
        assert "no line 'x'" in app.query_one(LogPane).status
        app.query_one(LogPane).goto("$")
        assert app.query_one(LogPane).follow


async def test_wide_lines_pan_or_wrap(tmp_path: Path) -> None:
    path = tmp_path / "wide.log"
    path.write_text("short\n" + "".join(chr(97 + n // 5 % 26) for n in range(100)) + "\nlast\n")
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        assert screen(app)[1].startswith("aaaaabbbbb")
        await pilot.press("l")
        assert screen(app)[1].startswith("dddeeeee")
        assert "→" in screen(app)[7]
        await pilot.press("h", "h", "w")
        rows = screen(app)
        assert "".join(rows[1:4]) == path.read_text().split("\n")[1]
        assert rows[4] == "last"
        path.write_text(path.read_text() * 3)
        await settle(pilot)
        assert screen(app)[6] == "last"
        await pilot.press("k")
        assert not app.query_one(LogPane).follow
        await pilot.press("g")
        assert screen(app)[0] == "short"


async def test_a_log_that_is_not_there_yet_and_one_that_is_replaced(tmp_path: Path, log: Path) -> None:
    app = PaneApp(None)
    async with app.run_test(size=(36, 8)) as pilot:
        pane = app.query_one(LogPane)
        await settle(pilot)
        assert "no log" in screen(app)[7]
        later = tmp_path / "later.log"
        pane.show_file(later)
        await settle(pilot)
        write(later, 1, 3)
        await settle(pilot)
        assert screen(app)[:3] == ["line 1", "line 2", "line 3"]
        later.write_text("anew\n")
        await settle(pilot)
        assert screen(app)[:2] == ["anew", ""]
        assert "cut or replaced" in screen(app)[7]
        pane.show_file(log)
        await settle(pilot)
        assert screen(app)[6] == "line 100"
        await pilot.press("k")
        pane.show_file(log)
        assert not pane.follow


async def test_terminal_controls_in_the_log_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.log"
    path.write_bytes(b"\x1b[2J\x1b]52;c;aGk=\x07\x1b[31mred\x1b[0m\n\r 10%\r 20%")
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        assert screen(app)[:2] == ["␛[2J␛]52;c;aGk=␇red", " 20%"]


async def test_big_file_opens_at_its_end_and_is_numbered_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "EAGER", 4 * BLOCK)
    monkeypatch.setattr(log_file, "TAIL", BLOCK)
    path = tmp_path / "big.log"
    write(path, 1, 100_000)
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        pane = app.query_one(LogPane)
        await pilot.press("g")
        await settle(pilot)
        assert screen(app)[0] == "line 1"
        pane.goto("54321")
        await settle(pilot)
        assert screen(app)[0] == "line 54321"
        await pilot.press("G")
        await settle(pilot)
        assert screen(app)[6:] == ["line 100000", " FOLLOW  100,000/100,000"]


@pytest.mark.parametrize("letters", ["abcdefghijklmnopqrstuvwxyz", "损失函数训练步骤"])
async def test_a_wrapped_line_taller_than_the_pane_is_read_to_its_end(tmp_path: Path, letters: str) -> None:
    path = tmp_path / "tall.log"
    tall = "".join(f"{number}{letters[number % len(letters)]}" for number in range(160))
    path.write_text(f"first\n{tall}\nlast\n", encoding="utf-8")
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        await pilot.press("w", "g")
        shown = [screen(app)[0]]
        for _ in range(40):
            await pilot.press("j")
            if screen(app)[0] != shown[-1]:
                shown.append(screen(app)[0])
        assert "".join(shown) == f"first{tall}last"
        for _ in range(len(shown)):
            await pilot.press("k")
        assert screen(app)[0] == "first"
        await pilot.press("pagedown")
        assert screen(app)[0] == shown[6]


async def test_following_a_wrapped_line_taller_than_the_pane_shows_its_end(tmp_path: Path) -> None:
    path = tmp_path / "tall.log"
    path.write_text("first\n" + "x" * 400 + "END\n")
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        await pilot.press("w")
        assert screen(app)[6].endswith("END")
        for _ in range(20):
            await pilot.press("k")
        assert screen(app)[0] == "first"


async def test_a_match_split_by_colours_or_beside_the_view_is_found_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "colours.log"
    lines = ["plain"] * 20 + ["." * 300 + "er\x1b[31mr\x1b[1mor\x1b[0m here"] + ["plain"] * 20
    path.write_text("\n".join(lines) + "\n")
    app = PaneApp(path)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        pane = app.query_one(LogPane)
        await pilot.press("slash", *"error here", "enter")
        await settle(pilot)
        assert pane.view.current == 20
        assert any("error here" in row for row in screen(app))
        await pilot.press("w", "N")
        await settle(pilot)
        assert any("error" in row for row in screen(app))
        pane.set_filter("error here")
        await settle(pilot)
        assert "&error here 1" in pane.status


async def test_the_prompt_names_the_way_out(log: Path) -> None:
    app = PaneApp(log)
    async with app.run_test(size=(36, 8)) as pilot:
        await settle(pilot)
        await pilot.press("slash")
        shown = {active.binding.id for active in app.screen.active_bindings.values() if active.binding.show}
        assert {"log.regex", "log.cancel"} <= shown
