"""What every screen has: the two bars, its errors shown as messages, a tick while it is on show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import DescendantFocus
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from qdl_engine.core.lab import Lab
from qdl_tui.shared.bars import KeyBar, TabBar, TooSmall, key_of

if TYPE_CHECKING:
    from qdl_tui.shared.host import Host

AFTER_FIRST_PAINT = 0.5
"""Seconds after which the app does what nobody waits for."""


class BaseScreen(Screen[None]):
    """One of the six screens.

    Workers run in threads, read files and post messages; handlers on the screen own every change of state.
    The tick stands still while another screen is on show: an unseen screen costs nothing.
    """

    MODE: str = ""
    TICK: ClassVar[float] = 0.0
    """Seconds between two ticks; 0 is never."""
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-medium"), (120, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self) -> None:
        super().__init__()
        self._seen_lab: Lab | None = None
        self._ticker: Timer | None = None
        self._had_focus: Widget | None = None
        """What the keys went to; a terminal that is too small hides it, which takes the focus from it."""

    @property
    def lab_app(self) -> Host:
        """The app, as far as screens know it."""
        return cast("Host", self.app)

    @property
    def lab(self) -> Lab:
        return self.lab_app.lab

    def compose(self) -> ComposeResult:
        yield TabBar(self.MODE)
        yield from self.compose_body()
        yield KeyBar()
        yield TooSmall()

    def compose_body(self) -> Iterable[Widget]:
        """The widgets between the two bars."""
        return ()

    def on_screen_resume(self) -> None:
        self.query_one(TabBar).show_lab(self.lab.root.name)
        if self._seen_lab != self.lab:
            self._seen_lab = self.lab
            self.lab_opened()
        self.tick()
        if self.TICK and self._ticker is None:
            self._ticker = self.set_interval(self.TICK, self.tick)
        elif self._ticker is not None:
            self._ticker.resume()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        self._had_focus = event.widget

    def on_resize(self) -> None:
        self.call_after_refresh(self._give_focus_back)

    def _give_focus_back(self) -> None:
        hidden = self.has_class("-tiny") or self.has_class("-low")
        held = self._had_focus
        if not hidden and self.focused is None and held is not None and held.is_attached:
            held.focus()

    def on_screen_suspend(self) -> None:
        if self._ticker is not None:
            self._ticker.pause()

    def why_not(self, action: str) -> str:
        """Why an action of this screen cannot be done now; empty when it can.

        What cannot be done is neither in the footer nor in the palette; its key says this one line.
        """
        return ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if self.why_not(action) else super().check_action(action, parameters)

    def key_of(self, binding_id: str) -> str:
        """The key of an action as it is mapped now, for texts that name it."""
        return key_of(self, binding_id)

    def with_way_out(self, problem: str) -> str:
        """Why there are no settings; where there is no lab, with the key that leads to making one."""
        if not problem or self.lab.settings_file.is_file():
            return problem
        return f"{problem}\nOr press {self.key_of('app.lab')}: the lab screen makes one"

    def lab_opened(self) -> None:
        """Another lab than last time: forget what was shown."""

    def tick(self) -> None:
        """Look at the files again, in a thread."""

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.lab_app.tell_error(event.worker.error)
