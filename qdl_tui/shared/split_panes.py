"""Panes beside or above each other, whose sizes the keys change and the user's state keeps."""

from __future__ import annotations

from textual.binding import Binding
from textual.containers import Container
from textual.layouts.horizontal import HorizontalLayout
from textual.message import Message
from textual.widget import Widget

STEP = 1.25
"""What one key press multiplies the size of a pane by."""
SMALLEST = 0.1
"""No pane falls below this share of all."""


class SplitPanes(Container):
    """Its children share its room as the stylesheet says, until the keys give the pane in focus more or less.

    Side by side or stacked is the stylesheet's choice too, by its `layout`; each has shares of its own.

    Args:
        name: What the shares are kept under.
        kept: The shares that the user chose, of all panes of the app; changed in place.
    """

    BINDINGS = [
        Binding(
            "less_than_sign", "grow(-1)", "Smaller pane", show=False, key_display="<", id="split.smaller"
        ),
        Binding(
            "greater_than_sign", "grow(1)", "Larger pane", show=False, key_display=">", id="split.larger"
        ),
        Binding("equals_sign", "reset", "Panes as they were", show=False, key_display="=", id="split.reset"),
    ]

    class Changed(Message):
        """The user changed the shares; the app saves them."""

    def __init__(self, *, name: str, kept: dict[str, list[float]], id: str | None = None) -> None:  # noqa: A002
        super().__init__(name=name, id=id)
        self._kept = kept
        self._applied: tuple[str, list[float], list[Widget]] = ("", [], [])

    @property
    def _across(self) -> bool:
        return isinstance(self.styles.layout, HorizontalLayout)

    @property
    def _key(self) -> str:
        return f"{self.name}.{'across' if self._across else 'down'}.{len(self.children)}"

    def on_mount(self) -> None:
        self.apply()

    def on_resize(self) -> None:
        """The layout may change with the width."""
        self.apply()

    def apply(self) -> None:
        """Give each place its share along the layout and all of the room across it, where shares are kept."""
        shares = self._kept.get(self._key, [])
        wanted = (self._key, shares, list(self.children))
        if wanted == self._applied:
            return
        self._applied = wanted
        for child, share in zip(self.children, shares or [0.0] * len(self.children), strict=True):
            along = f"{round(share * 1000)}fr" if shares else None
            whole = "1fr" if shares else None
            child.styles.width = along if self._across else whole
            child.styles.height = whole if self._across else along

    def action_grow(self, direction: int) -> None:
        """Grow or shrink the pane in focus; the others keep their shares of what is left."""
        at = next((at for at, pane in enumerate(self.children) if pane.has_focus_within), None)
        if at is None or sum(pane.display for pane in self.children) < 2:
            return
        self._keep(grown(self._kept.get(self._key) or self._measured(), at, STEP**direction))

    def _measured(self) -> list[float]:
        """The shares that the stylesheet gives; a hidden pane counts as an average one."""
        sizes = [pane.outer_size.width if self._across else pane.outer_size.height for pane in self.children]
        shown = [size for size in sizes if size] or [1]
        return [float(size or sum(shown) / len(shown)) for size in sizes]

    def action_reset(self) -> None:
        self._keep([])

    def _keep(self, shares: list[float]) -> None:
        if shares:
            self._kept[self._key] = shares
        else:
            self._kept.pop(self._key, None)
        self.apply()
        self.post_message(self.Changed())


def grown(shares: list[float], at: int, factor: float) -> list[float]:
    """`shares` as parts of 1, with the one `at` multiplied, as far as every pane keeps its smallest share."""
    whole = sum(shares)
    mine = shares[at] / whole
    others = len(shares) - 1
    wanted = min(max(mine * factor, SMALLEST), 1 - SMALLEST * others)
    rest = (1 - wanted) / (1 - mine)
    found = [wanted if number == at else share / whole * rest for number, share in enumerate(shares)]
    if min(found) < SMALLEST - 1e-9:
        return [share / whole for share in shares]
    return found
