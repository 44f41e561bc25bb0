"""Screen 6, the comparison: teacher, System 1 and System 2 side by side under one prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from qdl_engine.compare.comparison import MODELS, Snapshot, append_prompt, load_comparison
from qdl_engine.compare.difference import word_difference
from qdl_engine.compare.votes import Candidate, Vote, append_vote, candidates, read_votes
from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_tui.compare.answer_panes import AnswerPanes
from qdl_tui.compare.lineup import CHOICES, TITLES, Lineup, read_lineup, read_sample_prompts
from qdl_tui.compare.live import LiveComparison, View
from qdl_tui.compare.prompts import PromptInput, PromptWalk
from qdl_tui.compare.saved import Kept, Shown, export_kept, read_recent, saved_options, shown_by_prompt
from qdl_tui.compare.status import status_text
from qdl_tui.compare.voting import Voting
from qdl_tui.compare.worker import ModelWorker, WorkerEnded, WorkerSaid
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import ChooseScreen
from qdl_tui.shared.held_keys import DIALOG
from qdl_tui.shared.state import CompareTaste

LOOK_AGAIN = 2.0
"""Seconds between two looks at a student in training."""


class CompareScreen(BaseScreen):
    """One prompt, up to three answers, streamed in as the models write them."""

    MODE = "compare"
    CSS_PATH = "compare.tcss"
    BINDINGS = [
        Binding("c", "cancel", "Cancel", tooltip="Stop; keep the finished answers", id="compare.cancel"),
        Binding("enter", "ask", "Ask", key_display="enter", tooltip="Ask the models", id="compare.ask"),
        Binding("A", "ask_all", "Ask every prompt", show=False, id="compare.ask_all",
                tooltip="Answer and save all sample prompts"),
        Binding("b", "blind", "Blind mode", show=False, id="compare.blind",
                tooltip="Hide the names until you vote"),
        Binding("L", "vote('left')", "Vote: left is best", show=False, id="compare.vote_left"),
        Binding("M", "vote('middle')", "Vote: middle is best", show=False, id="compare.vote_middle"),
        Binding("R", "vote('right')", "Vote: right is best", show=False, id="compare.vote_right"),
        Binding("T", "vote('tie')", "Vote: tie", show=False, id="compare.vote_tie"),
        Binding("B", "vote('bad')", "Vote: all bad", show=False, id="compare.vote_bad"),
        Binding("d", "difference", "Differences", show=False, id="compare.difference",
                tooltip="Highlight differences; again: next pair"),
        Binding("m", "models", "Models", show=False, id="compare.models",
                tooltip="Choose the models to compare"),
        Binding("s", "in_step", "Scroll in step", show=False, id="compare.in_step",
                tooltip="Scroll the answers together or separately"),
        Binding("o", "open", "Open a comparison", show=False, id="compare.open",
                tooltip="Open a saved comparison"),
        Binding("e", "export", "Export", show=False, id="compare.export",
                tooltip="Write the comparison as Markdown and JSON"),
        Binding("y", "copy", "Copy the answer", show=False, id="compare.copy"),
        Binding("a", "add_prompt", "Add the prompt", show=False, id="compare.add",
                tooltip="Add it to sample_prompts.txt"),
        Binding("i", "edit", "Edit", tooltip="Edit the prompt", id="compare.edit"),
        Binding("right_square_bracket,n", "move(1)", "Next", key_display="]", id="compare.next",
                tooltip="Next prompt"),
        Binding("left_square_bracket,N", "move(-1)", "Previous", show=False, key_display="[",
                id="compare.previous", tooltip="Previous prompt"),
        Binding("t", "reasoning", "Reasoning", tooltip="Show or hide the reasoning", id="compare.reasoning"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.worker: ModelWorker | None = None
        self._questions = 0
        """How many questions were asked: numbers them across comparisons."""
        self._look_timer: Timer | None = None
        self._forget()

    def _forget(self) -> None:
        """Begin with nothing: a new screen, or another lab."""
        self.lineup: Lineup | None = None
        self.problem = ""
        """Why the lab's settings cannot be read."""
        self.names: tuple[str, ...] = MODELS
        """The models that take part."""
        self.live: LiveComparison | None = None
        self.known: dict[str, Shown] = {}
        """The saved answers that can be shown, by their prompt."""
        self.walk = PromptWalk()
        self.voting = Voting()
        self._said_below = ""
        """The message in the status line, until the next key."""

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(id="prompt-row"):
            yield Static("Prompt", markup=False, id="prompt-place")
            yield PromptInput(id="prompt", placeholder=f"{self.key_of('compare.edit')}: type a prompt")
        yield AnswerPanes(name="answers", kept=self.lab_app.state.splits, id="answers")
        yield Static("", markup=False, id="compare-about")
        yield Static("", markup=False, id="compare-score")

    def on_mount(self) -> None:
        self.panes.focus_first()

    async def on_unmount(self) -> None:
        if self.worker is not None:
            await self.worker.close()

    @property
    def panes(self) -> AnswerPanes:
        return self.query_one(AnswerPanes)

    @property
    def prompt_input(self) -> PromptInput:
        return self.query_one(PromptInput)

    @property
    def view(self) -> View:
        """What there is to show for the current prompt."""
        prompt = self.prompt_input.prompt
        if self.live is not None and self.live.prompt == prompt:
            return View(prompt, self.names, live=self.live)
        return View(prompt, self.names, saved=self.known.get(prompt))

    # The lab: its models, prompts, votes and newest comparisons

    def lab_opened(self) -> None:
        if self.live is not None:
            self.cancel(self.live)
        self._forget()
        taste = self.lab_app.state.compare.get(str(self.lab.root), CompareTaste())
        self.names = taste.models if taste.models in CHOICES.values() else MODELS
        self.voting = Voting(blind=taste.blind)
        self.prompt_input.prompt = ""

    def _remember_taste(self) -> None:
        taste = CompareTaste(self.names, self.voting.blind)
        self.lab_app.state.compare[str(self.lab.root)] = taste
        self.lab_app.save_state()

    def tick(self) -> None:
        """On coming back: a student may have been trained meanwhile."""
        self.look()

    @work(exclusive=True, group="lineup", exit_on_error=False)
    async def look(self) -> None:
        lab = self.lab
        recent = await asyncio.to_thread(read_recent, lab) if self.lineup is None else []
        votes = await asyncio.to_thread(read_votes, lab)
        lineup, problem = None, ""
        try:
            lineup = await asyncio.to_thread(read_lineup, lab)
        except LabError as error:
            problem = str(error)
        if lab != self.lab:
            return
        first = self.lineup is None and not self.known
        before = self.lineup.prompts if self.lineup is not None else ()
        self.lineup, self.voting.votes, self.problem = lineup, votes, self.with_way_out(problem)
        if first:
            for kept in reversed(recent):
                self.known |= shown_by_prompt(kept)
            self._list_prompts(recent[0].comparison.prompts if recent else [])
        elif lineup is not None and lineup.prompts != before:
            self._list_prompts(self.walk.prompts, self.prompt_input.prompt)
        self.redraw()
        self._look_again()

    def _look_again(self) -> None:
        """While a student is in training, follow it: it can be asked once that finishes."""
        if self._look_timer is not None:
            self._look_timer.stop()
        if self.lineup is not None and self.lineup.in_training:
            self._look_timer = self.set_timer(LOOK_AGAIN, self._look_if_shown)

    def _look_if_shown(self) -> None:
        if self.is_current:  # otherwise coming back does it
            self.look()

    # The prompts

    def _list_prompts(self, first: Sequence[str], at: str = "") -> None:
        """Walk through these and the lab's from now on; what is typed in the line stays."""
        own = self.lineup.prompts if self.lineup is not None else ()
        self.walk.replace(first, own, at)
        if self.walk.prompts and at in ("", self.walk.prompt):
            self.prompt_input.prompt = self.walk.prompt

    @on(Input.Changed, "#prompt")
    def prompt_changed(self) -> None:
        self.redraw()

    @on(Input.Submitted, "#prompt")
    def prompt_given(self) -> None:
        self.action_leave_prompt()
        self.action_ask()

    def action_move(self, prompts: int) -> None:
        self.walk.move(prompts)
        if self.walk.prompts:
            self.prompt_input.prompt = self.walk.prompt

    def go_to(self, prompt: str) -> None:
        if self.walk.go_to(prompt):
            self.prompt_input.prompt = prompt

    def action_edit(self) -> None:
        self.prompt_input.focus()
        self.prompt_input.cursor_position = len(self.prompt_input.value)

    def action_leave_prompt(self) -> None:
        self.panes.focus_first()

    def action_add_prompt(self) -> None:
        prompt = self.prompt_input.prompt
        known = self.lineup.prompts if self.lineup is not None else ()
        if prompt in known:
            self.notify("Already in sample_prompts.txt")
        elif prompt:
            self._add_prompt(self.lab, prompt)

    @work(group="prompts", exit_on_error=False)
    async def _add_prompt(self, lab: Lab, prompt: str) -> None:
        await asyncio.to_thread(append_prompt, lab.sample_prompts, prompt)
        self.notify("Added to sample_prompts.txt")
        prompts = await asyncio.to_thread(read_sample_prompts, lab)
        if lab == self.lab and self.lineup is not None:
            self.lineup = replace(self.lineup, prompts=prompts)
            self._list_prompts(self.walk.prompts, self.prompt_input.prompt)
            self.redraw()

    # Asking the models

    def why_not(self, action: str) -> str:
        if action == "cancel" and self.live is None:
            return "No model is answering"
        if action in ("ask", "ask_all", "models") and self.live is not None:
            return f"Still answering: {self.key_of('compare.cancel')} cancels"
        return super().why_not(action)

    def action_ask(self) -> None:
        prompt = self.prompt_input.prompt
        if not prompt:
            self.notify(f"No prompt yet: {self.key_of('compare.edit')} types one")
        else:
            self._start([prompt])

    def action_ask_all(self) -> None:
        prompts = self.lineup.prompts if self.lineup is not None else ()
        if not prompts:
            self.notify("sample_prompts.txt has no prompts")
        else:
            self.go_to(prompts[0])
            self._start(prompts)

    def _start(self, prompts: Sequence[str]) -> None:
        if self.lineup is not None and self.live is None:
            self.live = LiveComparison(self.lab, self.lineup, self.names, prompts, self._questions + 1)
            self._questions += len(prompts)
            self.ask(self.live)

    @work(exclusive=True, group="ask", exit_on_error=False)
    async def ask(self, live: LiveComparison) -> None:
        """Put the current prompt to the models; the worker answers one after the other."""
        if self.worker is None:
            self.worker = ModelWorker(self.lab.logs / "worker.log", self)
        requests = live.begin()
        self.redraw()
        if not requests:
            live.stopped = True
            self._answered(live)
        for request in requests:
            await self.worker.send(request)

    @on(WorkerSaid)
    def worker_said(self, message: WorkerSaid) -> None:
        live, view = self.live, self.view
        if live is None or not live.hear(message.reply):
            return
        if view.live is not None:
            self.panes.show_reply(view.live, message.reply, hidden=self.voting.hides_names(view))
        if live.stopped and live.loading:
            self.cancel(live)  # again: when the key was pressed, no model was loading yet
        if not live.waiting:
            self._answered(live)

    @on(WorkerEnded)
    def worker_ended(self, message: WorkerEnded) -> None:
        if self.live is not None:
            log = self.worker.log if self.worker is not None else ""
            self.live.lose_worker(f"The model process ended (exit code {message.exit_code}). Its log: {log}")
            self._answered(self.live)

    def _answered(self, live: LiveComparison) -> None:
        """Every model has answered the current prompt: keep that, save it, go to the next."""
        prompt = live.prompt
        watched = self.prompt_input.prompt == prompt
        shown = live.complete()
        if shown is not None:
            self.known[prompt] = shown
            self.save(live, live.file.snapshot(live.kept.comparison))
        more = live.advance()
        if not more:
            self.live = None
        elif watched:
            # The screen follows the prompts that are asked, unless the user has walked to another one.
            self.go_to(live.prompt)
        self.redraw()
        if more:
            self.ask(live)
        elif len(live.prompts) > 1:
            self._say_below(f"{len(live.kept.comparison.prompts)} of {len(live.prompts)} prompts answered")
        if shown is None and not more and watched:
            self.panes.show_failures(live)

    @work(group="save", exit_on_error=False)
    async def save(self, live: LiveComparison, snapshot: Snapshot) -> None:
        path = await asyncio.to_thread(live.file.write, snapshot)
        live.kept.name = path.stem
        self.redraw()

    def action_cancel(self) -> None:
        if self.live is not None:
            self.cancel(self.live)

    @work(group="cancel", exit_on_error=False)
    async def cancel(self, live: LiveComparison) -> None:
        """Stop at once: an answer stops at its next token; while a model loads, the process is ended."""
        worker, loading = self.worker, live.loading
        live.stopped = True
        if worker is None:
            return
        if not loading:
            for name in sorted(live.waiting):
                await worker.send({"op": "cancel", "id": live.question_id(name)})
            return
        await worker.kill()
        live.cancel()
        if live is self.live:
            self.notify(f"Cancelled while {TITLES[loading]} was loading; the next prompt loads it again")
            self._answered(live)

    # Votes

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "vote":
            places = len(self.view.votable)
            return places >= 2 and (places == 3 or parameters != ("middle",))
        return super().check_action(action, parameters)

    def action_blind(self) -> None:
        self.voting.blind = not self.voting.blind
        self._remember_taste()
        self.redraw()
        if not self.voting.blind:
            self._say_below("Blind mode off")
        elif not self.voting.hides_names(self.view):
            self._say_below("Blind mode on")

    def action_vote(self, verdict: str) -> None:
        view = self.view
        names = [pane.model for pane in self.panes.shown if pane.model in view.votable]
        if view.saved is None or len(names) < 2:
            return
        if not view.saved.kept.name:
            self.notify("Not saved yet")
            return
        before = self.voting.own_vote(view.saved)
        if before is not None and before.blind:
            self.notify("Your blind vote stays: you have seen the names")
            return
        vote = self.voting.vote(view, view.saved, verdict, names)
        self.redraw()
        self._keep_vote(self.lab, vote)

    @work(group="votes", exit_on_error=False)
    async def _keep_vote(self, lab: Lab, vote: Vote) -> None:
        try:
            await asyncio.to_thread(append_vote, lab, vote)
        except OSError as cause:
            words = f"The vote could not be saved to {lab.votes}: {cause.strerror or cause}"
            self.notify(words, severity="error")
        votes = await asyncio.to_thread(read_votes, lab)
        if lab == self.lab:
            self.voting.votes = votes
            self.redraw()

    # What can be done with the answers

    def action_models(self) -> None:
        def chosen(title: str | None) -> None:
            if title:
                self.names = CHOICES[title]
                self._remember_taste()
                self.redraw()

        options = [(title, "current" if names == self.names else "") for title, names in CHOICES.items()]
        self.app.push_screen(ChooseScreen("Models to compare", options), chosen)

    def action_reasoning(self) -> None:
        self.panes.toggle_reasoning()

    def action_in_step(self) -> None:
        self.panes.in_step = not self.panes.in_step
        self.redraw()

    def action_pane(self, panes: int) -> None:
        self.panes.focus_beside(panes)

    def action_difference(self) -> None:
        if not self.panes.next_pair():
            self.notify("Two answers needed")
        self._mark_differences()

    @work(exclusive=True, group="difference", exit_on_error=False)
    async def _mark_differences(self) -> None:
        pair = self.panes.pair
        if pair is None:
            self.panes.mark()
            return
        texts = [pane.answer_text for pane in pair]
        difference = await asyncio.to_thread(word_difference, *texts)
        if self.panes.pair == pair and texts == [pane.answer_text for pane in pair]:
            self.panes.mark(pair, difference)

    @work(exclusive=True, group=DIALOG, exit_on_error=False)
    async def action_open(self) -> None:
        lab = self.lab
        options = await asyncio.to_thread(saved_options, lab)

        def chosen(name: str | None) -> None:
            if name:
                self.open_saved(lab, name)

        if options:
            self.app.push_screen(ChooseScreen("Open a saved comparison", options), chosen)
        else:
            self.notify(f"No comparison is saved yet: {self.key_of('compare.ask')} asks")

    @work(exclusive=True, group=DIALOG, exit_on_error=False)
    async def open_saved(self, lab: Lab, name: str) -> None:
        """Show a saved comparison and walk through its prompts."""
        comparison = await asyncio.to_thread(load_comparison, lab.comparisons / f"{name}.json")
        if lab == self.lab:
            self.known |= shown_by_prompt(Kept(comparison, name))
            self._list_prompts(comparison.prompts)
            self.redraw()

    def action_export(self) -> None:
        view = self.view
        if view.saved is None:
            self.notify("No answers to export")
        elif self.voting.hides_names(view):
            self.notify("Vote first: the files name the models")
        else:
            self._export(self.lab, view.saved.kept)

    @work(group="export", exit_on_error=False)
    async def _export(self, lab: Lab, kept: Kept) -> None:
        """Say where twice: the status line is short, and the message goes away."""
        place = await asyncio.to_thread(export_kept, lab, kept)
        if lab == self.lab:
            self._say_below(f"Exported: {place} and .json")
            self.notify(f"Exported in the lab:\n{place}\nand beside it as .json")

    def action_copy(self) -> None:
        pane = self.panes.focused_answer
        if pane is None or pane.answer is None:
            self.notify("No answer to copy")
        else:
            self.lab_app.copy_to_clipboard(pane.answer.answer, f"the answer of {pane.title}")

    # Drawing

    def redraw(self) -> None:
        """Show everything as it stands now."""
        view = self.view
        hidden = self.voting.hides_names(view)
        self.panes.put_in_order(view, self.voting.order(view))
        if not hidden:
            self.voting.see(view)
        self.panes.show(view, self._no_answer, hidden=hidden)
        place = Content.styled(self.walk.place(view.prompt), "bold $accent")
        self.query_one("#prompt-place", Static).update(place)
        self._show_status(view, hidden)
        self._mark_differences()
        self.refresh_bindings()

    def _no_answer(self, model: str) -> tuple[str, str]:
        """The state of a model that was not asked, and why it was not or how to ask it."""
        if self.problem:
            return "not available", self.problem
        contestant = self.lineup.contestant(model) if self.lineup is not None else None
        if contestant is not None and contestant.missing:
            return "in training" if contestant.in_training else "not trained yet", contestant.missing
        view, asks = self.view, f"{self.key_of('compare.ask')} asks."
        if view.saved is not None:
            return "", f"Not asked in this comparison. {asks}"
        return "", asks if view.prompt else ""

    def _say_below(self, words: str) -> None:
        """Say it in the status line, where it covers nothing, until the next key."""
        self._said_below = words
        self.redraw()

    def on_key(self) -> None:
        if self._said_below:
            self._say_below("")

    def _show_status(self, view: View, hidden: bool) -> None:
        width, in_step = self.size.width - 2, self.panes.in_step
        text = status_text(view, self.live, self.voting, in_step=in_step, key_of=self.key_of, width=width)
        self.query_one("#compare-about", Static).update(Content(printable(text)))
        scores = "" if hidden else self.voting.scores_text(self._candidates(view))
        line = "  ".join(filter(None, [self._said_below, scores]))
        score = self.query_one("#compare-score", Static)
        score.display = bool(line)
        score.update(Content(printable(line)))

    def _candidates(self, view: View) -> list[Candidate]:
        """The models whose scores are shown: those of the answers, otherwise those that would be asked."""
        if view.saved is not None:
            return candidates(view.saved.comparison, view.saved.comparison.models)
        return [item.candidate for item in self.lineup.contestants] if self.lineup is not None else []
