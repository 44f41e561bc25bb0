"""Walking through prompts: those of the comparison on show, those of the lab, and what is typed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual import on, work
from textual.binding import Binding
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from qdl_engine.compare.votes import Vote, read_votes
from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_tui.compare.actions import CompareActionsScreen, PromptAdded
from qdl_tui.compare.answer_pane import AnswerScroll
from qdl_tui.compare.models import Kept, Setting, Shown, read_recent, read_setting, shown_by_prompt
from qdl_tui.shared.dialogs import LineInput

LOOK_AGAIN = 2.0
"""Seconds after which a student in training is looked at again."""


@dataclass
class SettingRead(Message):
    """Models, prompts, votes and the newest comparisons were looked at."""

    lab: Lab
    setting: Setting | None
    votes: list[Vote]
    recent: list[Kept]
    problem: str = ""


class PromptInput(LineInput):
    """The prompt; Enter asks it."""

    BINDINGS = [
        Binding("enter", "submit", "Ask", key_display="enter", id="prompt.ask"),
        Binding("escape", "screen.leave_prompt", "Back", key_display="esc", id="prompt.back"),
        Binding("ctrl+u", "clear_all", "Clear", tooltip="Clear the prompt", id="prompt.clear"),
    ]

    def action_clear_all(self) -> None:
        self.value = ""

    def in_one_line(self, text: str) -> str:
        return _in_one_line(text)


class WalkingScreen(CompareActionsScreen):
    """A screen with one prompt of several at hand."""

    BINDINGS = [
        Binding("i", "edit", "Edit", tooltip="Edit the prompt", id="compare.edit"),
        Binding(
            "right_square_bracket,n", "move(1)", "Next", key_display="]", id="compare.next",
            tooltip="Next prompt",
        ),
        Binding(
            "left_square_bracket,N", "move(-1)", "Previous", show=False, key_display="[",
            id="compare.previous", tooltip="Previous prompt",
        ),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.problem = ""
        """Why the lab's settings cannot be read."""
        self.prompts: list[str] = []
        """What can be walked through: those of the comparison on show, then those of the lab."""
        self.position = 0
        self.known: dict[str, Shown] = {}
        """The answers that can be shown, by their prompt."""
        self._look_timer: Timer | None = None
        self._prompt = ""
        """The prompt as it is, while the input shows it made fit for a terminal."""

    def lab_opened(self) -> None:
        self.action_cancel()
        self.asking, self.setting, self.problem = None, None, ""
        self.prompts, self.position, self.known, self.votes = [], 0, {}, []
        self.recall_taste()
        self._set_prompt("")

    def tick(self) -> None:
        """On coming back: a student may have been trained meanwhile."""
        self.look()

    @work(thread=True, exclusive=True, group="setting", exit_on_error=False)
    def look(self) -> None:
        lab = self.lab
        recent = read_recent(lab) if self.setting is None else []
        votes = read_votes(lab)
        try:
            self.post_message(SettingRead(lab, read_setting(lab), votes, recent))
        except LabError as error:
            self.post_message(SettingRead(lab, None, votes, recent, str(error)))

    @on(SettingRead)
    def show_setting(self, message: SettingRead) -> None:
        if message.lab != self.lab:
            return
        first = self.setting is None and not self.known
        before = self.setting.prompts if self.setting is not None else ()
        self.setting, self.votes = message.setting, message.votes
        self.problem = self.with_way_out(message.problem)
        if first:
            for kept in reversed(message.recent):
                self.known |= shown_by_prompt(kept)
            self._list_prompts(message.recent[0].comparison.prompts if message.recent else [])
        elif self.setting is not None and self.setting.prompts != before:
            self._list_prompts(self.prompts, self.current_prompt())
        self.redraw()
        self._look_again()

    def _look_again(self) -> None:
        """While a student is trained, follow it: it can be asked once that is done."""
        if self._look_timer is not None:
            self._look_timer.stop()
        if self.setting is not None and any(item.in_training for item in self.setting.contestants):
            self._look_timer = self.set_timer(LOOK_AGAIN, self._look_if_shown)

    def _look_if_shown(self) -> None:
        if self.is_current:  # else coming back does
            self.look()

    @on(PromptAdded)
    def prompt_added(self, message: PromptAdded) -> None:
        if message.lab == self.lab and self.setting is not None:
            self.setting = replace(self.setting, prompts=message.prompts)
            self._list_prompts(self.prompts, self.current_prompt())
            self.redraw()

    def show_comparison(self, kept: Kept) -> None:
        self.known = {**self.known, **shown_by_prompt(kept)}
        self._list_prompts(kept.comparison.prompts)
        self.redraw()

    def _list_prompts(self, first: list[str], at: str = "") -> None:
        """What can be walked through from now on, and where to begin; what is typed there stays."""
        own = self.setting.prompts if self.setting is not None else ()
        self.prompts = list(dict.fromkeys([*first, *own]))
        self.position = self.prompts.index(at) if at in self.prompts else 0
        if self.prompts and at in ("", self.prompts[self.position]):
            self._set_prompt(self.prompts[self.position])

    def _set_prompt(self, prompt: str) -> None:
        self._prompt = prompt
        self.query_one(PromptInput).value = _in_one_line(prompt)

    def current_prompt(self) -> str:
        """The prompt on show: the one walked to, unless it was edited."""
        value = self.query_one(PromptInput).value
        return self._prompt if value == _in_one_line(self._prompt) else _as_typed(value)

    @on(Input.Changed, "#prompt")
    def prompt_changed(self) -> None:
        self.redraw()

    def action_move(self, prompts: int) -> None:
        if self.prompts:
            self.position = (self.position + prompts) % len(self.prompts)
            self._set_prompt(self.prompts[self.position])

    def go_to(self, prompt: str) -> None:
        if prompt in self.prompts:
            self.position = self.prompts.index(prompt)
            self._set_prompt(prompt)

    def action_edit(self) -> None:
        field = self.query_one(PromptInput)
        field.focus()
        field.cursor_position = len(field.value)

    def action_leave_prompt(self) -> None:
        self.panes()[0].query_one(AnswerScroll).focus()

    @on(Input.Submitted, "#prompt")
    def prompt_given(self) -> None:
        self.action_leave_prompt()
        self.action_ask()

    def shown(self) -> Shown | None:
        return None if self.is_live() else self.known.get(self.current_prompt())

    def is_live(self) -> bool:
        return self.asking is not None and self.asking.prompt == self.current_prompt()


def _in_one_line(prompt: str) -> str:
    """A prompt as the input shows it: its line breaks and control characters as pictures."""
    return printable(prompt).replace("\n", "␊").replace("\t", "␉")


def _as_typed(line: str) -> str:
    """The prompt behind an edited line: its pictures of line breaks and tabs are these again."""
    return line.replace("␊", "\n").replace("␉", "\t").strip()
