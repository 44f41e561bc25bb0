"""Pane sizes: changed by keys, kept by layout, given back to the stylesheet."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from qdl_tui.shared.split_panes import SMALLEST, SplitPanes, grown
from qdl_tui.shared.state import UserState, load_state


class Pane(Static, can_focus=True):
    pass


class SplitApp(App[None]):
    CSS = """
    SplitPanes { layout: vertical; height: 1fr; }
    Screen.-wide SplitPanes { layout: horizontal; }
    #first { height: 8; width: 1fr; }
    #second { height: 1fr; width: 1fr; }
    Screen.-wide #first { height: 1fr; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]

    def __init__(self, kept: dict[str, list[float]]) -> None:
        super().__init__()
        self.kept = kept
        self.changes = 0

    def compose(self) -> ComposeResult:
        with SplitPanes(name="test", kept=self.kept):
            yield Pane("one", id="first")
            yield Pane("two", id="second")

    def on_split_panes_changed(self) -> None:
        self.changes += 1

    def sizes(self) -> tuple[int, int]:
        first, second = self.query_one("#first"), self.query_one("#second")
        if first.region.y == second.region.y:
            return first.size.width, second.size.width
        return first.size.height, second.size.height


async def test_the_pane_in_focus_grows_and_shrinks() -> None:
    kept: dict[str, list[float]] = {}
    app = SplitApp(kept)
    async with app.run_test(size=(80, 24)) as pilot:
        app.query_one("#first").focus()
        assert app.sizes() == (8, 16)
        await pilot.press(">")
        assert app.sizes() == (10, 14)
        app.query_one("#second").focus()
        await pilot.press(">")
        assert app.sizes()[1] > 14
        await pilot.press("=")
        assert app.sizes() == (8, 16)
        assert kept == {} and app.changes == 3


async def test_each_layout_has_sizes_of_its_own() -> None:
    kept: dict[str, list[float]] = {}
    app = SplitApp(kept)
    async with app.run_test(size=(120, 24)) as pilot:
        app.query_one("#second").focus()
        await pilot.press("<")
        assert app.sizes() == (72, 48)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert app.sizes() == (8, 16)
        await pilot.resize_terminal(120, 24)
        await pilot.pause()
        assert app.sizes() == (72, 48)
    again = SplitApp(kept)
    async with again.run_test(size=(120, 24)) as pilot:
        await pilot.pause()
        assert again.sizes() == (72, 48)


async def test_no_pane_goes_away() -> None:
    app = SplitApp({})
    async with app.run_test(size=(80, 24)) as pilot:
        app.query_one("#first").focus()
        await pilot.press(*"<" * 30)
        assert app.sizes()[0] >= 2
        await pilot.press(*">" * 30)
        assert app.sizes()[1] >= 2


@pytest.mark.parametrize("factor", [0.001, 0.8, 1.25, 1000])
def test_the_shares_always_add_up_and_never_fall_below_the_smallest(factor: float) -> None:
    shares = grown([1.0, 1.0, 1.0], 1, factor)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= SMALLEST - 1e-9


@pytest.mark.parametrize("splits", ['{"a": "x"}', "3", '{"a": [0, 1]}', '{"a": [null]}'])
def test_sizes_that_are_none_are_dropped(splits: str) -> None:
    UserState().save()
    from qdl_tui.shared.state import state_file

    state_file().write_text(f'{{"version": 1, "splits": {splits}}}', encoding="utf-8")
    assert load_state().splits == {}


def test_sizes_are_kept_from_session_to_session() -> None:
    state = UserState(splits={"training.down.2": [0.4, 0.6]})
    state.save()
    assert load_state() == state
