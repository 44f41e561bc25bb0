"""Lists with vim keys beside the arrows, and text cut to the cells of a row."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

ELLIPSIS = "…"


def list_keys(first: str, last: str) -> list[BindingType]:
    """Vim's keys beside the arrows, for any list; `first` and `last` are its actions for the two ends."""
    return [
        Binding("j,down", "cursor_down", "Down", show=False, id="list.down"),
        Binding("k,up", "cursor_up", "Up", show=False, id="list.up"),
        Binding("g,home", first, "First", show=False, id="list.first"),
        Binding("G,end", last, "Last", show=False, id="list.last"),
        Binding("ctrl+d,pagedown", "page_down", "Page down", show=False, id="list.page_down"),
        Binding("ctrl+u,pageup", "page_up", "Page up", show=False, id="list.page_up"),
    ]


class NavList(OptionList):
    """An `OptionList` that j, k, g, G, ctrl+d and ctrl+u move in, and whose options are never markup."""

    BINDINGS = list_keys("first", "last")

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id, markup=False)

    def show_options(self, options: list[tuple[str, Content]]) -> None:
        """Replace the options. The highlight stays on its option; a highlight on the first stays first."""
        before = self.highlighted_option
        kept = before.id if before is not None and self.highlighted else None
        self.set_options([Option(prompt, id=option_id) for option_id, prompt in options])
        ids = [option_id for option_id, _prompt in options]
        if ids:
            self.highlighted = ids.index(kept) if kept in ids else 0

    def action_page_down(self) -> None:
        if self._has_room:
            super().action_page_down()  # type: ignore[no-untyped-call]

    def action_page_up(self) -> None:
        if self._has_room:
            super().action_page_up()  # type: ignore[no-untyped-call]

    @property
    def _has_room(self) -> bool:
        """Whether the list was laid out; before that there are no lines to count a page in."""
        return bool(self.scrollable_content_region)


def middle_cut(text: str, width: int) -> str:
    """`text` in at most `width` cells: paths and model names differ at both ends, so the middle goes.

    >>> middle_cut("/data/models/Qwen2.5-7B-Instruct", 20)
    '/data/m…-7B-Instruct'
    """
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    end = (width - 1) * 2 // 3
    return f"{_first(text, width - 1 - end)}{ELLIPSIS}{_first(text[::-1], end)[::-1]}"


def _first(text: str, width: int) -> str:
    return chop_cells(text, width)[0] if width and text else ""
