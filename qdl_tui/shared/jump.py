"""Jump mode: a letter on all that takes keys; the letter goes there. Numbers go to screens, as always."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

from qdl_tui.shared.bars import MODE_TITLES, KeyBar

LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""Near the resting fingers first."""
LABEL_WIDTH = 3


class JumpScreen(ModalScreen[str]):
    """Lies over a screen; the answer is the letter or number pressed, or nothing."""

    BINDINGS = [Binding("escape,ctrl+o", "leave", "Back", key_display="esc", id="jump.back")]

    def __init__(self, targets: dict[str, Widget], size: Size) -> None:
        super().__init__(classes="jump")
        self.targets = targets
        self._drawn_at = size

    def compose(self) -> ComposeResult:
        for letter, widget in self.targets.items():
            label = Static(f" {letter} ", markup=False, classes="jump-label")
            label.styles.offset = _corner(widget.region, self._drawn_at)
            yield label
        yield KeyBar()

    def on_resize(self, event: events.Resize) -> None:
        """What lies below moves when the terminal does, and the letters would be wrong."""
        if event.size != self._drawn_at and self.is_current:
            self.dismiss("")

    def on_key(self, event: events.Key) -> None:
        pressed = event.character or ""
        numbers = [str(number) for number, _mode in enumerate(MODE_TITLES, 1)]
        if pressed in self.targets or pressed in numbers:
            event.stop()
            self.dismiss(pressed)

    def action_leave(self) -> None:
        self.dismiss("")


def jump_targets(screen: Screen[Any]) -> dict[str, Widget]:
    """What can take the focus and is in sight, by letter, from top left to bottom right."""
    seen = [
        widget
        for widget in screen.focus_chain
        if not widget.has_class("-textual-system") and screen.region.overlaps(widget.region)
    ]
    seen.sort(key=lambda widget: (widget.region.y, widget.region.x))
    return dict(zip(LETTERS, seen, strict=False))


def _corner(region: Region, size: Size) -> tuple[int, int]:
    """Where the letter of a widget goes: right in the line above it, where titles leave room.

    The tabs are no title: what stands just below them has its letter at its own right end.
    """
    right = min(region.right, size.width) - LABEL_WIDTH
    above = region.y - 1 if region.y > 1 else region.y
    return max(right, 0), min(max(above, 0), size.height - 2)
