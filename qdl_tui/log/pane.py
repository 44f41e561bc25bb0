"""The log pane: the lines, a row that says where you are, and a prompt for search, filter and line number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState

from qdl_engine.core.words import one_line
from qdl_tui.log.rows import LineFilter
from qdl_tui.log.search import Pattern, PatternError, find_line
from qdl_tui.log.view import LogView
from qdl_tui.shared.bars import key_of

SIGNS = {"search": "/", "filter": "&", "line": ":"}
ASK = {f"ask({kind!r})": kind for kind in SIGNS}
"""The prompt that each action opens."""
HINTS = {
    "search": "text to find; {regex}: regular expression",
    "filter": "lines to keep; !text hides; empty: all",
    "line": "line number, 50%, or $",
}


class LogPrompt(Horizontal):
    """Asks for one of `SIGNS`; hidden until then. It remembers whether a text is a regular expression."""

    DEFAULT_CSS = """
    LogPrompt {
        height: 1;
        display: none;
        & > Static { width: auto; text-style: bold; }
        & > Input { width: 1fr; }
    }
    """
    BINDINGS = [
        Binding("ctrl+r", "regex", "Regex", tooltip="Text or regular expression", id="log.regex"),
        Binding("escape", "cancel", "Close", key_display="esc", tooltip="Close the prompt", id="log.cancel"),
    ]

    @dataclass
    class Closed(Message):
        """Enter or Escape was pressed; after Escape, `text` is None."""

        kind: str
        text: str | None
        regex: bool

    def __init__(self) -> None:
        super().__init__()
        self._kind = ""
        self._regex = False
        self._sign = Static(markup=False)
        self._input = Input(compact=True, select_on_focus=False)

    def compose(self) -> ComposeResult:
        """The sign and what is typed after it."""
        yield self._sign
        yield self._input

    def ask(self, kind: str) -> None:
        """Open the prompt, empty."""
        self._kind = kind
        self._input.value = ""
        self._input.placeholder = HINTS[kind].format(regex=key_of(self.screen, "log.regex"))
        self.display = True
        self._show_sign()
        self.screen.set_focus(self._input)

    def type(self, event: Key) -> None:
        """Take a key that was meant for the prompt but arrived before the prompt had the focus."""
        self._input.post_message(Key(event.key, event.character))

    def _show_sign(self) -> None:
        self._sign.update(SIGNS[self._kind] + ("re " if self._regex and self._kind != "line" else ""))

    def action_regex(self) -> None:
        """Read the text as a regular expression, or as plain text."""
        self._regex = not self._regex
        self._show_sign()

    def action_cancel(self) -> None:
        """Close without an answer."""
        self._close(None)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._close(event.value)

    def _close(self, text: str | None) -> None:
        self.display = False
        self.post_message(self.Closed(self._kind, text, self._regex))


class LogPane(Vertical):
    """A log file that a run is writing, read by keys alone.

    Args:
        path: The file, which may not exist yet; None until `show_file`.
    """

    DEFAULT_CSS = """
    LogPane {
        height: 1fr;
        & > .log-status { height: 1; color: $text-muted; }
    }
    """
    BINDINGS = [
        Binding("slash", "ask('search')", "Search", key_display="/", id="log.search"),
        Binding("n", "find(False)", "Next match", show=False, id="log.next"),
        Binding("N", "find(True)", "Previous match", show=False, id="log.previous"),
        Binding("ampersand", "ask('filter')", "Filter", key_display="&", id="log.filter"),
        Binding("colon", "ask('line')", "Go to line", key_display=":", show=False, id="log.line"),
        Binding("escape", "back", "Clear the filter, then the marks", show=False, id="log.back"),
    ]

    def __init__(
        self,
        path: Path | None = None,
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self.view = LogView(path)
        self.view.first_look = self._first_look
        self.notice = ""
        """What the status row says first: how a search or a filter went."""
        self._status = Static(classes="log-status", markup=False)
        self._prompt = LogPrompt()

    def compose(self) -> ComposeResult:
        """The prompt takes the place of the status row, so that no line moves when it opens."""
        yield self.view
        yield self._status
        yield self._prompt

    def on_mount(self) -> None:
        """Say where you are from the first paint on."""
        self._show_status()

    def focus(self, scroll_visible: bool = True, **_: object) -> Self:
        """Send the keys to the lines."""
        self.view.focus(scroll_visible)
        return self

    # For screens -----------------------------------------------------------------------------------------

    def show_file(self, path: Path | None) -> None:
        """Show another file from its end, without filter and marks; the file shown already stays as it is."""
        if self.view.rows.file.path != path:
            self.workers.cancel_node(self)
            self.notice = ""
            self.view.show(path)
            self._show_status()

    def goto(self, where: str) -> None:
        """Go to a line by its number from 1, to a percentage, or to `$`, the end."""
        where = where.strip()
        if where in ("$", "G"):
            self.view.follow = True
            return
        number = where.removesuffix("%")
        if not number.isdecimal() or len(number) > 15:
            self._say(f"no line {where[:20]!r}: type a number, 50% or $")
            return
        self._goto(int(number), percent=where.endswith("%"))

    @work(exclusive=True, group="log-goto")
    async def _goto(self, number: int, *, percent: bool) -> None:
        await self.view.numbered()
        count = self.view.rows.file.lines
        line = count * min(number, 100) // 100 if percent else number - 1
        self.notice = f"last line is {count:,}" if line >= max(1, count) and not percent else ""
        self.view.reveal(max(0, min(line, count - 1)), at_top=True)

    # Search ----------------------------------------------------------------------------------------------

    def search(self, text: str, *, regex: bool = False) -> None:
        """Mark a text; go to its last match when following, else to the next one from the top row."""
        backward = self.view.follow
        self.view.set_mark(Pattern(text, regex))
        self._search(backward, from_current=False)

    def action_find(self, backward: bool) -> None:
        """Go to the next match, or to the previous one."""
        if self.view.mark is None:
            self.action_ask("search")
        else:
            self._search(backward)

    @work(exclusive=True, group="log-search", exit_on_error=False)
    async def _search(self, backward: bool, *, from_current: bool = True) -> None:
        """Find a match from here to the end, then in the rest; only among the lines that the filter keeps."""
        view = self.view
        await view.numbered()
        file, kept, pattern = view.rows.file, view.rows.filter, view.mark
        if not file.lines or pattern is None:
            self._say("no log yet")
            return
        edge = view.top + (view.height if backward else -1)
        line = view.current if from_current and view.current is not None else view.rows.line_of(edge)
        start, source = file.line_start(line if backward else line + 1), file.snapshot()
        self._say("searching…")
        find = partial(find_line, pattern, source.read, start, source.size, backward=backward)
        shown = kept.lines_in if kept else None
        hit = await source.in_thread(lambda cancelled: find(cancelled=cancelled, shown=shown))
        if not source.is_current:
            self._say("the file changed; search again")
        elif hit is None:
            self._say(f"not found: {pattern.text[:40]}")
        else:
            self.notice = "search wrapped around" if hit.wrapped else ""
            line = file.line_at(hit.offset)
            view.reveal(line)
            view.show_match(line)

    # Filter ----------------------------------------------------------------------------------------------

    def set_filter(self, text: str, *, regex: bool = False) -> None:
        """Show only the lines with a text; `!text` hides those; an empty text shows all."""
        self.workers.cancel_group(self, "log-filter")
        text, invert = (text[1:], True) if text.startswith("!") else (text, False)
        if text:
            self._say("filtering…")
            self._filter(LineFilter(Pattern(text, regex), invert=invert))
        else:
            self.notice = ""
            self.view.set_filter(None)

    @work(exclusive=True, group="log-filter", exit_on_error=False)
    async def _filter(self, chosen: LineFilter) -> None:
        await self.view.numbered()
        file = self.view.rows.file
        source, stop = file.snapshot(), file.index.line_end
        await source.in_thread(lambda cancelled: chosen.scan(source.read, stop, cancelled=cancelled))
        if source.is_current:
            self.notice = ""
            self.view.set_filter(chosen)
        else:
            self._say("the file changed; filter again")

    @on(Worker.StateChanged)
    def _worker_failed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.group in ("log-search", "log-filter"):
            self._say(f"cannot read the log: {event.worker.error}")

    # Prompt ----------------------------------------------------------------------------------------------

    def _first_look(self, event: Key) -> bool:
        """Open the prompt at its key, and give it what was typed ahead.

        Over a slow line `/loss` arrives in one piece. If the bindings got it, `/` would open the prompt
        after the other four had acted as keys of the log.
        """
        if self._prompt.display:
            self._prompt.type(event)
            return True
        active = self.screen.active_bindings.get(event.key)
        if active is None or active.node is not self or active.binding.action not in ASK:
            return False
        self.action_ask(ASK[active.binding.action])
        return True

    def action_ask(self, kind: str) -> None:
        """Ask for a text to find, the lines to keep, or a line to go to."""
        self._status.display = False
        self._prompt.ask(kind)

    @on(LogPrompt.Closed)
    def _answer(self, answer: LogPrompt.Closed) -> None:
        answer.stop()
        self._status.display = True
        self.screen.set_focus(self.view)
        try:
            if answer.text is None:
                return
            if answer.kind == "line":
                self.goto(answer.text)
            elif answer.kind == "filter":
                self.set_filter(answer.text, regex=answer.regex)
            elif answer.text:
                self.search(answer.text, regex=answer.regex)
        except PatternError as error:
            self._say(str(error))

    def action_back(self) -> None:
        """Undo one thing: the filter, then the marks."""
        self.notice = ""
        if self.view.rows.filter is not None:
            self.set_filter("")
        else:
            self.view.set_mark(None)
        self._show_status()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape belongs to the screen when there is nothing here to undo."""
        return action != "back" or self.view.rows.filter is not None or self.view.mark is not None

    # Status ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """The status row as text: badge, notice, position, filter."""
        return f"{self._badge} {one_line(' · '.join(self._facts()), 300)}"

    @property
    def _badge(self) -> str:
        """Whether the view follows the end, in words: colour alone never says it."""
        view = self.view
        return " FOLLOW " if view.follow else f" +{view.below:,} lines " if view.below else " HOLD "

    def _facts(self) -> list[str]:
        view, file, kept = self.view, self.view.rows.file, self.view.rows.filter
        facts = [self.notice] if self.notice else []
        if file.problem:
            facts.append(file.problem)
        elif not file.whole:
            facts.append("numbering lines…")
        elif file.lines:
            line = file.lines if view.follow else min(view.rows.line_of(view.top) + 1, file.lines)
            facts.append(f"{line:,}/{file.lines:,}")
        if kept is not None:
            facts.append(f"&{'!' if kept.invert else ''}{kept.pattern.text} {len(view.rows):,}")
        if view.shift:
            facts.append(f"→{view.shift}")
        return facts

    def _say(self, notice: str) -> None:
        """Tell the user something in the status row."""
        self.notice = notice
        self._show_status()

    @on(LogView.Changed)
    def _moved(self, message: LogView.Changed) -> None:
        message.stop()
        if message.reset:
            self.notice = "log truncated or replaced"
        self._show_status()

    def _show_status(self) -> None:
        """Write the status row."""
        badge, text = self._badge, self.status
        self._status.update(Content.assemble((badge, "reverse bold"), text[len(badge) :]))
