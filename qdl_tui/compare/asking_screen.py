"""Asking the models: the worker process, what it says, and the comparison that is saved as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from qdl_engine.core.errors import LabError
from qdl_tui.compare.models import MODELS, TITLES, Setting, Shown
from qdl_tui.compare.session import Asking
from qdl_tui.compare.worker import ModelWorker
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.messages import Said


@dataclass
class WorkerSaid(Message):
    """One event of the worker process."""

    event: dict[str, Any]


@dataclass
class ComparisonSaved(Message):
    """A comparison has its file."""

    asking: Asking
    name: str


class AskingScreen(BaseScreen):
    """A screen that asks models; what it shows of it is the subclass's."""

    BINDINGS = [
        Binding("c", "cancel", "Cancel", tooltip="Stop asking; answers given stay", id="compare.cancel"),
        Binding("enter", "ask", "Ask", key_display="enter", tooltip="Ask the models", id="compare.ask"),
        Binding(
            "A", "ask_all", "Ask every prompt", show=False,
            tooltip="All of sample_prompts.txt, saved as they come", id="compare.ask_all",
        ),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.worker: ModelWorker | None = None
        self.setting: Setting | None = None
        self.names: tuple[str, ...] = MODELS
        """The models that take part."""
        self.asking: Asking | None = None
        self._questions = 0
        self._loaded: dict[str, tuple[str, str]] = {}
        """Path and date of what the worker holds under each name."""
        self._about: dict[str, dict[str, Any]] = {}
        """What the worker said of each model when it had loaded it."""

    def say_below(self, words: str) -> None:
        """Say it in the status line, where it covers nothing and stays."""

    def current_prompt(self) -> str:
        """The prompt that Enter asks."""
        return ""

    def go_to(self, prompt: str) -> None:
        """Put this prompt on show."""

    def show_asking(self) -> None:
        """A prompt is being asked from now on."""

    def show_event(self, asking: Asking, event: dict[str, Any]) -> None:
        """One event about the prompt at hand, after `asking` took it."""

    def show_answered(self, asking: Asking, shown: Shown | None) -> None:
        """Every model has answered the prompt at hand."""

    def show_saved(self) -> None:
        """A comparison has its file now."""

    def why_not(self, action: str) -> str:
        if action == "cancel" and self.asking is None:
            return "Nothing is being asked"
        if action in ("ask", "ask_all", "models") and self.asking is not None:
            return f"Still answering: {self.key_of('compare.cancel')} cancels"
        return super().why_not(action)

    def action_ask(self) -> None:
        prompt = self.current_prompt()
        if not prompt:
            self.notify(f"There is no prompt: {self.key_of('compare.edit')} types one")
        else:
            self.start_asking([prompt])

    def action_ask_all(self) -> None:
        prompts = self.setting.prompts if self.setting is not None else ()
        if not prompts:
            self.notify("sample_prompts.txt has no prompts")
        else:
            self.go_to(prompts[0])
            self.start_asking(prompts)

    def start_asking(self, prompts: Sequence[str]) -> None:
        if self.setting is None or self.asking is not None:
            return
        self.asking = Asking(self.lab, self.setting, self.names, prompts, self._questions + 1)
        self._questions += len(prompts)
        self.ask(self.asking)

    @work(exclusive=True, group="ask", exit_on_error=False)
    async def ask(self, asking: Asking) -> None:
        """Load what is not loaded yet and ask the prompt at hand; the worker answers one after the other."""
        worker = self.worker
        if worker is None:
            worker = self.worker = ModelWorker(self.lab.logs / "worker.log", self._hear)
        if not worker.running:
            self._loaded, self._about = {}, {}
        contestants = asking.begin()
        asking.know(self._about)
        for item in contestants:
            if self._loaded.get(item.name) != item.weights:
                asking.states[item.name] = "loading"
        self.refresh_bindings()
        self.show_asking()
        if not contestants:
            asking.stopped = True
            self._answered(asking)
        for item in contestants:
            question = asking.question_id(item.name)
            if self._loaded.get(item.name) != item.weights:
                self._loaded[item.name] = item.weights
                await worker.send({**asking.setting.load_request(item), "id": question})
            await worker.send(asking.setting.ask_request(item, asking.prompt, question))

    def _hear(self, event: dict[str, Any]) -> None:
        self.post_message(WorkerSaid(event))

    @on(WorkerSaid)
    def worker_said(self, message: WorkerSaid) -> None:
        event, asking = message.event, self.asking
        kind, name = event.get("event"), str(event.get("name", ""))
        if kind == "loaded":
            self._about[name] = event
        elif kind in ("load_failed", "not_loaded"):
            self._loaded.pop(name, None)
        elif kind == "gone":
            self._loaded, self._about = {}, {}
        if asking is None or (kind != "gone" and not asking.is_current(event)):
            return
        if kind == "gone":
            log = self.worker.log if self.worker is not None else ""
            asking.lose_worker(
                f"The model process ended (exit code {event.get('exit_code')}). Its log: {log}"
            )
        else:
            asking.hear(event)
            self.show_event(asking, event)
        if not asking.waiting:
            self._answered(asking)

    def _answered(self, asking: Asking) -> None:
        """The prompt at hand is done: keep it, save, and go on with the next."""
        shown = asking.complete()
        if shown is not None:
            self.save(asking, asking.snapshot())
        goes_on = asking.go_on()
        if not goes_on:
            self.asking = None
            self.refresh_bindings()
        self.show_answered(asking, shown)
        if goes_on:
            self.ask(asking)
        elif len(asking.prompts) > 1:
            done = len(asking.kept.comparison.prompts)
            self.say_below(f"{done} of {len(asking.prompts)} prompts are answered")

    @work(thread=True, group="save", exit_on_error=False)
    def save(self, asking: Asking, snapshot: tuple[int, dict[str, Any]]) -> None:
        try:
            self.post_message(ComparisonSaved(asking, asking.save(snapshot)))
        except LabError as error:
            self.app.post_message(Said(str(error), severe=True))

    @on(ComparisonSaved)
    def comparison_saved(self, message: ComparisonSaved) -> None:
        message.asking.kept.name = message.name
        self.show_saved()

    @work(group="cancel", exit_on_error=False)
    async def action_cancel(self) -> None:
        """Stop at once: an answer stops at its next token; of a model that loads, the process is ended."""
        asking, worker = self.asking, self.worker
        if asking is None or worker is None:
            return
        asking.stopped = True
        loading = asking.loading
        if not loading:
            for name in sorted(asking.waiting):
                await worker.send({"op": "cancel", "id": asking.question_id(name)})
            return
        await worker.kill()
        self._loaded, self._about = {}, {}
        asking.cancel()
        self.notify(f"Cancelled while {TITLES[loading]} was loading; the next question loads again")
        self._answered(asking)

    async def on_unmount(self) -> None:
        if self.worker is not None:
            await self.worker.close()
