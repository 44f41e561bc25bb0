"""Screen 1, the lab: where each student stands, and the one next step on Enter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList, Static

from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_engine.lab_state.status import LabStatus, MachineStatus, Step, lab_status, machine_status
from qdl_tui.lab.view import (
    ABOUT,
    StageTable,
    command_of,
    last_comparison,
    machine_text,
    step_lines,
    steps_title,
    trouble_lines,
    troubles,
    what_it_does,
)
from qdl_tui.shared.base import AFTER_FIRST_PAINT, BaseScreen
from qdl_tui.shared.draft import file_stamp
from qdl_tui.shared.lists import NavList

ANOTHER = "another directory…"
MACHINE_TICKS = 5
"""Reads of the lab for one of GPU and disk: nvidia-smi costs a process."""
OTHER_ROWS = 16
"""Rows of a crowded lab screen beside its troubles: bars, stages, three steps and what heads them."""
ALL_ROWS = 21
"""The same with where it is, what a step does, the last comparison and the machine."""


@dataclass
class StatusRead(Message):
    """Where the lab stands."""

    lab: Lab
    status: LabStatus

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, StatusRead)


@dataclass
class MachineRead(Message):
    """GPU and disk of this machine."""

    machine: MachineStatus


@dataclass
class ComparisonRead(Message):
    """The newest comparison, on one line."""

    lab: Lab
    text: str


class StepList(NavList):
    """What can be done now; Enter does it."""

    BINDINGS = [
        Binding(
            "enter",
            "select",
            "Start",
            key_display="enter",
            tooltip="Do the highlighted step",
            id="steps.start",
        )
    ]


class LabHomeScreen(BaseScreen):
    """Where the lab stands; in an empty directory, the ways to begin."""

    MODE = "lab"
    TICK = 2.0
    BINDINGS = [
        Binding("n", "new_lab", "New lab", tooltip="Make a new lab in a directory you name", id="lab.new"),
        Binding("d", "demo_lab", "Demo lab", tooltip="Make a demo lab: no network, no GPU", id="lab.demo"),
        Binding("o", "open_lab", "Open lab", tooltip="Open another lab by its directory", id="lab.open"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.status: LabStatus | None = None
        self._steps: dict[str, Step] = {}
        self._ticks = 0
        self._checked: tuple[object, tuple[str, ...]] = (None, ())
        """The state of `qdl.toml` that was checked last, and what is wrong with it."""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="where")
        yield StageTable()
        yield Static("", markup=False, id="troubles")
        yield Static("", markup=False, id="next-title")
        yield StepList(id="steps")
        yield Static("", markup=False, id="does")
        yield Static("", markup=False, id="last")
        yield Static("", markup=False, id="machine")

    def on_mount(self) -> None:
        self.query_one(NavList).focus()

    def lab_opened(self) -> None:
        self.status = None
        self._steps = {}
        self.query_one("#where", Static).update(Content.styled(printable(str(self.lab.root)), "$text-muted"))

    def tick(self) -> None:
        self._ticks += 1
        self.read_status()
        if self.status is not None and self._ticks % MACHINE_TICKS == 0:
            self.read_machine()

    @work(thread=True, exclusive=True, group="status", exit_on_error=False)
    def read_status(self) -> None:
        lab = self.lab
        state = (lab, file_stamp(lab))
        # Checking takes a library that the first paint does not wait for.
        check = self.status is not None and state != self._checked[0]
        status = lab_status(lab, check=check)
        if check:
            self._checked = state, status.problems
        elif state == self._checked[0]:
            status = replace(status, problems=self._checked[1])
        self.post_message(StatusRead(lab, status))

    @work(thread=True, exclusive=True, group="machine", exit_on_error=False)
    def read_machine(self) -> None:
        lab = self.lab
        self.post_message(MachineRead(machine_status(lab.root)))
        self.post_message(ComparisonRead(lab, last_comparison(lab)))

    @on(StatusRead)
    def show_status(self, message: StatusRead) -> None:
        if message.lab != self.lab or message.status == self.status:
            return
        first, self.status = self.status is None, message.status
        if first:
            # These come after what the first paint waits for: threads share one interpreter.
            self.read_machine()
            self.set_timer(AFTER_FIRST_PAINT, self.read_status)
        self.set_class(not message.status.exists, "empty")
        if message.status.exists:
            self.query_one(StageTable).show_status(message.status)
            self._show_troubles(message.status)
            self._show_steps(message.status)
        else:
            self._show_beginnings()
        self.refresh_bindings()

    def _show_steps(self, status: LabStatus) -> None:
        self.query_one("#next-title", Static).update(Content.styled(steps_title(status), "bold $accent"))
        self._steps = {f"step-{' '.join(step.command)}": step for step in status.steps}
        lines = step_lines(status.steps, self.size.width - 2)
        self.query_one(NavList).show_options(list(zip(self._steps, lines, strict=True)))

    def _show_troubles(self, status: LabStatus) -> None:
        """In full where there is room: what is only good to know makes room for it."""
        told = troubles(status)
        where = "qdl config validate shows all" if status.problems else f"{self.key_of('app.runs')} shows all"
        room = max(2, self.size.height - OTHER_ROWS)
        lines = trouble_lines(told, self.size.width - 2, room, where)
        self.set_class(bool(told), "troubled")
        self.set_class(bool(lines) and len(lines) > self.size.height - ALL_ROWS, "crowded")
        self.query_one("#troubles", Static).update(Content.styled("\n".join(lines), "$error"))

    def on_resize(self) -> None:
        if self.status is not None and self.status.exists:
            self._show_troubles(self.status)
            self._show_steps(self.status)

    def _show_beginnings(self) -> None:
        self.query_one("#next-title", Static).update(
            Content.assemble(
                f"{ABOUT}\n\n", ("There is no lab here yet.", "bold $accent"), "  How do you want to begin?"
            )
        )
        new, demo, other = (self.key_of(f"lab.{what}") for what in ("new", "demo", "open"))
        options = [
            ("new", Content(f"{new}  New lab here    qdl.toml with every setting and its help")),
            ("demo", Content(f"{demo}  Demo lab here   a tiny teacher: no network, no GPU, some minutes")),
        ]
        options += [(f"open {path}", Content(f"{other}  Open {printable(path)}")) for path in self._others()]
        self.query_one(NavList).show_options(options)

    @on(OptionList.OptionHighlighted, "#steps")
    def show_what_it_does(self, event: OptionList.OptionHighlighted) -> None:
        """Beside the step in focus: nobody has to start it to learn what it does."""
        event.stop()
        text = what_it_does(command_of(event.option_id or "", self._steps))
        self.query_one("#does", Static).update(Content.styled(text, "$text-muted"))

    @on(ComparisonRead)
    def show_comparison(self, message: ComparisonRead) -> None:
        if message.lab == self.lab:
            last = f"Last comparison: {message.text}" if message.text else ""
            self.query_one("#last", Static).update(Content.styled(last, "$text-muted"))

    @on(MachineRead)
    def show_machine(self, message: MachineRead) -> None:
        self.query_one("#machine", Static).update(
            Content.styled(machine_text(message.machine), "$text-muted")
        )

    @on(OptionList.OptionSelected, "#steps")
    def option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._choose(event.option_id or "")

    def _choose(self, key: str) -> None:
        if key in self._steps:
            self.lab_app.start_step(self._steps[key])
        elif key == "new":
            self.lab_app.create_lab(self.lab, demo=False)
        elif key == "demo":
            self.lab_app.create_lab(self.lab, demo=True)
        elif key.startswith("open "):
            self.lab_app.open_lab(Lab.at(key.removeprefix("open ")))

    def action_new_lab(self) -> None:
        self._ask_directory("Directory of the new lab", demo=False)

    def action_demo_lab(self) -> None:
        self._ask_directory("Directory of the demo lab", demo=True)

    def _ask_directory(self, question: str, *, demo: bool) -> None:
        """Make the lab here when there is none here; else ask for a directory."""
        from qdl_tui.shared.dialogs import AskScreen

        if self.status is not None and not self.status.exists:
            self.lab_app.create_lab(self.lab, demo=demo)
            return

        def make(answer: str | None) -> None:
            if answer:
                self.lab_app.create_lab(Lab.at(answer), demo=demo)

        beside = self.lab.root.parent / ("demo-lab" if demo else "new-lab")
        self.app.push_screen(AskScreen(question, str(beside)), make)

    def action_open_lab(self) -> None:
        """One of the recent labs, or any by its directory."""
        from qdl_tui.shared.dialogs import ChooseScreen

        others = self._others()
        if not others:
            self._ask_which()
            return

        def chosen(path: str | None) -> None:
            if path == ANOTHER:
                self._ask_which()
            elif path:
                self.lab_app.open_lab(Lab.at(path))

        options = [(path, "" if Lab.at(path).settings_file.is_file() else "gone") for path in others]
        self.app.push_screen(ChooseScreen("Open a lab", [*options, (ANOTHER, "")]), chosen)

    def _others(self) -> list[str]:
        return [path for path in self.lab_app.state.recent if path != str(self.lab.root)]

    def _ask_which(self) -> None:
        from qdl_tui.shared.dialogs import AskScreen

        def open_it(answer: str | None) -> None:
            if answer:
                self.lab_app.open_lab(Lab.at(Path(answer)))

        self.app.push_screen(AskScreen("Directory of the lab", f"{self.lab.root.parent}/"), open_it)
