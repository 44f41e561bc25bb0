"""Screen 6, the comparison: teacher, System 1 and System 2 side by side under one prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from qdl_engine.comparison import Comparison, save_comparison
from qdl_engine.errors import LabError
from qdl_engine.lab import Lab
from qdl_tui.comparing import MODELS, TITLES, Contestant, Setting, append_prompt, comparison_of, read_setting
from qdl_tui.messages import Said
from qdl_tui.model_worker import ModelWorker
from qdl_tui.screens.base import BaseScreen
from qdl_tui.screens.dialogs import LineInput
from qdl_tui.widgets.answer_pane import AnswerPane, AnswerScroll


@dataclass
class SettingRead(Message):
    """Models and prompts were looked at."""

    lab: Lab
    setting: Setting | None
    problem: str = ""


@dataclass
class WorkerSaid(Message):
    """One event of the worker process."""

    event: dict[str, Any]


class PromptInput(LineInput):
    """The prompt; Enter asks it."""

    BINDINGS = [
        Binding("enter", "submit", "Ask", key_display="enter", id="prompt.ask"),
        Binding("escape", "screen.leave_prompt", "Back", key_display="esc", id="prompt.back"),
    ]


class CompareScreen(BaseScreen):
    """One prompt, up to three answers, streamed in as they are written."""

    MODE = "compare"
    TICK = 0.0
    CSS_PATH = "compare.tcss"
    BINDINGS = [
        Binding("enter", "ask", "Ask", key_display="enter", tooltip="Ask every model", id="compare.ask"),
        Binding("i", "edit", "Edit", tooltip="Edit the prompt", id="compare.edit"),
        Binding("right_square_bracket", "move(1)", "Next", key_display="]", id="compare.next"),
        Binding(
            "left_square_bracket", "move(-1)", "Previous", show=False, key_display="[", id="compare.previous",
            tooltip="Previous prompt",
        ),
        Binding("t", "reasoning", "Reasoning", tooltip="Fold or open the reasoning", id="compare.reasoning"),
        Binding("a", "add_prompt", "Add the prompt to sample_prompts.txt", show=False, id="compare.add"),
        Binding("c", "cancel", "Cancel the answers", show=False, id="compare.cancel"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.worker: ModelWorker | None = None
        self.setting: Setting | None = None
        self.position = 0
        self._loaded: dict[str, tuple[str, float]] = {}
        """Path and stamp of what the worker holds under each name."""
        self._question = 0
        self._prompt = ""
        self._about: dict[str, dict[str, Any]] = {}
        """What the worker said of each model when it had loaded it."""
        self._answers: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, str] = {}
        self._waiting: set[str] = set()

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(id="prompt-row"):
            yield Static("Prompt", markup=False, id="prompt-place")
            yield PromptInput(id="prompt", placeholder="i: type a prompt")
        with Horizontal(id="answers"):
            for model in MODELS:
                yield AnswerPane(model, TITLES[model])

    def on_mount(self) -> None:
        self.query(AnswerScroll).first().focus()

    def lab_opened(self) -> None:
        self.setting = None
        self.position = 0
        self.query_one(PromptInput).value = ""
        for pane in self.query(AnswerPane):
            pane.show_why("", "")

    def tick(self) -> None:
        """On coming back: a student may have been trained meanwhile."""
        self.look()

    @work(thread=True, exclusive=True, group="setting", exit_on_error=False)
    def look(self) -> None:
        lab = self.lab
        try:
            self.post_message(SettingRead(lab, read_setting(lab)))
        except LabError as error:
            self.post_message(SettingRead(lab, None, str(error)))

    @on(SettingRead)
    def show_setting(self, message: SettingRead) -> None:
        if message.lab != self.lab:
            return
        first = self.setting is None
        self.setting = message.setting
        for pane in self.query(AnswerPane):
            why = message.problem if message.setting is None else self._contestant(pane.model).missing
            if why:
                pane.show_why("not there", why)
            elif pane.text == "" and pane.model not in self._waiting:
                pane.show_why("", "Enter asks.")
        if first:
            self._show_prompt()

    def _contestant(self, model: str) -> Contestant:
        assert self.setting is not None
        return next(item for item in self.setting.contestants if item.name == model)

    def _show_prompt(self) -> None:
        prompts = self.setting.prompts if self.setting is not None else ()
        if prompts:
            self.position %= len(prompts)
            self.query_one(PromptInput).value = prompts[self.position]
        place = f"Prompt {self.position + 1}/{len(prompts)}" if prompts else "Prompt"
        self.query_one("#prompt-place", Static).update(Content.styled(place, "bold $accent"))

    @on(Input.Changed, "#prompt")
    def forget_answers_to_another_prompt(self, changed: Input.Changed) -> None:
        if self._answers and not self._waiting and changed.value.strip() != self._prompt:
            self._answers = {}
            for pane in self.query(AnswerPane):
                if pane.text:
                    pane.show_why("", "Enter asks.")

    def action_move(self, prompts: int) -> None:
        if self._waiting:
            self.notify("Still answering: c cancels", markup=False, timeout=2)
            return
        self.position += prompts
        self._show_prompt()

    def action_add_prompt(self) -> None:
        prompt = self.query_one(PromptInput).value.strip()
        known = self.setting.prompts if self.setting is not None else ()
        if prompt and prompt not in known:
            self.add_prompt(self.lab, prompt)

    @work(thread=True, group="prompts", exit_on_error=False)
    def add_prompt(self, lab: Lab, prompt: str) -> None:
        append_prompt(lab.sample_prompts, prompt)
        self.app.post_message(Said("Added to sample_prompts.txt"))
        self.post_message(SettingRead(lab, read_setting(lab)))

    def action_edit(self) -> None:
        self.query_one(PromptInput).focus()

    def action_leave_prompt(self) -> None:
        self.query(AnswerScroll).first().focus()

    @on(Input.Submitted, "#prompt")
    def prompt_given(self) -> None:
        self.action_leave_prompt()
        self.action_ask()

    def action_reasoning(self) -> None:
        opened = not self.query(AnswerPane).first().open
        for pane in self.query(AnswerPane):
            pane.toggle_reasoning(opened)

    def action_ask(self) -> None:
        prompt = self.query_one(PromptInput).value.strip()
        if self.setting is None or not prompt:
            self.notify("There is no prompt: i types one", markup=False, timeout=3)
        elif self._waiting:
            self.notify("Still answering: c cancels", markup=False, timeout=2)
        else:
            self.ask(self.setting, prompt)

    @work(exclusive=True, group="ask", exit_on_error=False)
    async def ask(self, setting: Setting, prompt: str) -> None:
        """Load what is not loaded yet and ask; the worker answers one after the other."""
        worker = self.worker
        if worker is None:
            worker = self.worker = ModelWorker(self.lab.logs / "worker.log", self._hear)
        self._question += 1
        self._prompt, self._answers, self._failed = prompt, {}, {}
        there = [item for item in setting.contestants if not item.missing]
        self._waiting = {item.name for item in there}
        for item in there:
            known = worker.running and self._loaded.get(item.name) == item.weights
            self.query_one(f"#answer-{item.name}", AnswerPane).begin("waiting" if known else "loading")
        for item in there:
            if not worker.running:
                self._loaded = {}
            if self._loaded.get(item.name) != item.weights:
                await worker.send(setting.load_request(item))
                self._loaded[item.name] = item.weights
            await worker.send(setting.ask_request(item, prompt, f"{self._question}-{item.name}"))

    def _hear(self, event: dict[str, Any]) -> None:
        self.post_message(WorkerSaid(event))

    @on(WorkerSaid)
    def worker_said(self, message: WorkerSaid) -> None:
        event = message.event
        kind, name = event.get("event"), str(event.get("name", ""))
        if kind == "gone":
            self._worker_gone(event)
            return
        if name not in MODELS or not self._is_current(event):
            return
        pane = self.query_one(f"#answer-{name}", AnswerPane)
        if kind == "loaded":
            self._about[name] = event
            pane.show_state("waiting")
        elif kind == "chunk":
            pane.add_text(str(event.get("text", "")))
        elif kind == "answer":
            pane.finish(event)
            self._answers[name] = event
            self._done_with(name)
        elif kind in ("load_failed", "error"):
            self._loaded.pop(name, None)
            # A model that failed to load also fails to answer; only the first says why.
            if name not in self._failed and name not in self._answers:
                pane.show_why("failed", f"{event.get('message', '')}\n\n{event.get('hint', '')}".strip())
            self._failed.setdefault(name, str(event.get("message", "")))
            self._done_with(name)

    def _is_current(self, event: dict[str, Any]) -> bool:
        """Whether an event belongs to the question on show, not to one before it."""
        question = str(event.get("id", ""))
        return not question or question.split("-")[0] == str(self._question)

    def _done_with(self, name: str) -> None:
        """One more has answered or failed; with the last one the comparison is saved."""
        if name in self._waiting:
            self._waiting.discard(name)
            if not self._waiting and self._answers and self.setting is not None:
                self.save(
                    self.lab,
                    comparison_of(self.setting, self._prompt, self._about, self._answers, self._failed),
                )

    @work(thread=True, group="save", exit_on_error=False)
    def save(self, lab: Lab, comparison: Comparison) -> None:
        save_comparison(lab, comparison)

    def _worker_gone(self, event: dict[str, Any]) -> None:
        """A crashed worker takes its models with it, never the app."""
        self._loaded = {}
        for name in self._waiting:
            log = self.worker.log if self.worker is not None else ""
            why = f"The model process ended (exit code {event.get('exit_code')}). Its log: {log}"
            self.query_one(f"#answer-{name}", AnswerPane).show_why("failed", why)
        self._waiting = set()

    @work(group="cancel", exit_on_error=False)
    async def action_cancel(self) -> None:
        if self.worker is None:
            return
        for name in sorted(self._waiting):
            await self.worker.send({"op": "cancel", "id": f"{self._question}-{name}"})

    async def on_unmount(self) -> None:
        if self.worker is not None:
            await self.worker.close()
