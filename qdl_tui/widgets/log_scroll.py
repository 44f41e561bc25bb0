"""Where a log view stands (following or holding, wrapped or not) and the keys that change it."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView


class LogScroll(ScrollView, can_focus=True, inherit_bindings=False):
    """Following is a state that keys change, never a side effect of lines coming in."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    LogScroll {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS = [
        Binding("up,k", "move(-1)", "Line up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "Line down", show=False, id="log.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="log.page-up"),
        Binding("pagedown,ctrl+f,space", "page(1)", "Page down", show=False, id="log.page-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="log.half-up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="log.half-down"),
        Binding("home,g", "top", "Start of the log", show=False, id="log.start"),
        Binding("end,G", "follow", "Follow the end", show=False, id="log.follow"),
        Binding("left,h", "pan(-1)", "Scroll left", show=False, id="log.left"),
        Binding("right,l", "pan(1)", "Scroll right", show=False, id="log.right"),
        Binding("w", "wrap", "Wrap lines", show=False, id="log.wrap"),
    ]

    follow: reactive[bool] = reactive(True, init=False)
    """Whether the end of the log is kept in view."""
    wrap: reactive[bool] = reactive(False, init=False)
    """Whether a wide line takes several rows instead of scrolling sideways."""
    shift: reactive[int] = reactive(0, init=False)
    """Cells scrolled to the right."""

    hidden: tuple[int, int] = (0, 0)
    """A row, and how many of its wrapped parts are above the view while it is the one at the top."""

    @dataclass
    class Changed(Message):
        """Position, follow state, filter or length changed; `reset` when the file was cut or replaced."""

        reset: bool = False

        def can_replace(self, message: Message) -> bool:
            """A flood of these is one."""
            return isinstance(message, LogScroll.Changed) and not message.reset

    @property
    def row_count(self) -> int:
        """Rows that can be scrolled to."""
        raise NotImplementedError

    def page_top(self) -> int:
        """The row at the top when wrapped rows are laid out upwards from the end."""
        raise NotImplementedError

    def drop_page(self) -> None:
        """What was laid out no longer holds."""
        raise NotImplementedError

    @property
    def top(self) -> int:
        """The row at the top of the view."""
        return self.page_top() if self.wrap and self.follow else round(self.scroll_y)

    @property
    def height(self) -> int:
        """Rows in view."""
        return self.scrollable_content_region.height

    @property
    def below(self) -> int:
        """Rows below the ones in view."""
        return max(0, self.row_count - self.top - self.height)

    def sync(self) -> None:
        """Take over a new number of rows, size or state; the end stays in view when following."""
        self.drop_page()
        rows = self.row_count + (max(0, self.height - 1) if self.wrap else 0)
        size = Size(self.scrollable_content_region.width, rows)
        if size != self.virtual_size:
            self.virtual_size = size
        if self.follow:
            self.scroll_to(y=self.max_scroll_y, animate=False)
        self.refresh()

    def scroll_to_row(self, row: float, *, hidden: int = 0) -> None:
        """Put a row at the top, without the first `hidden` of the rows it takes when it is wrapped."""
        self.hidden = (max(0, round(row)), hidden)
        self.drop_page()
        self.scroll_to(y=max(0, row), animate=False)
        self.refresh()
        self.post_message(self.Changed())

    def on_resize(self, event: Resize) -> None:
        """Keep the end in view when the pane changes its size."""
        self.sync()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Any way upwards holds the view: keys, wheel, scroll bar. A clamp to the end is no way upwards."""
        if self.follow and new_value < old_value and new_value < self.max_scroll_y:
            self.follow = False
        self.drop_page()
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Changed())

    def watch_follow(self) -> None:
        """Back to the end at once."""
        self.sync()
        self.post_message(self.Changed())

    def watch_wrap(self) -> None:
        """Wrapped lines start at the left edge."""
        self.shift = 0
        self.sync()
        self.post_message(self.Changed())

    def watch_shift(self) -> None:
        """Only the crop changes."""
        self.refresh()
        self.post_message(self.Changed())

    def action_move(self, rows: int) -> None:
        """Scroll by rows; upwards means to hold."""
        top = self.top
        if rows < 0:
            self.follow = False
        if not self.follow:
            self.scroll_to_row(top + rows)

    def action_page(self, pages: float) -> None:
        """Scroll by pages; upwards means to hold."""
        rows = max(1, int(abs(pages) * (self.height - 1)))
        self.action_move(rows if pages > 0 else -rows)

    def action_top(self) -> None:
        """Go to the first row and hold there."""
        self.follow = False
        self.scroll_to_row(0)

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.follow = True

    def action_pan(self, pages: int) -> None:
        """Scroll sideways by half a width."""
        if not self.wrap:
            self.shift = max(0, self.shift + pages * max(1, self.scrollable_content_region.width // 2))

    def action_wrap(self) -> None:
        """Wrap wide lines, or scroll them sideways."""
        self.wrap = not self.wrap
