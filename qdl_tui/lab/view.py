"""What the lab screen shows: the table of stages, the steps and what each will do, the last comparison."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime

from textual.content import Content
from textual.widgets import Static

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import one_line, printable, size_text
from qdl_engine.lab_state.status import STAGE_NAMES, LabStatus, MachineStatus, Stage, Step

ABOUT = (
    "qdl distils one large Qwen teacher into two small students: "
    "System 1 answers at once, System 2 reasons first and then answers."
)
"""What a first-time user reads, in a directory without a lab."""
GAP = 3
"""Cells between a step and its command, where there is room."""
LONGEST_DETAIL = 30
"""Characters of a stage that the table shows on 80 columns."""
DOES = {
    "prepare": "Filters the source and reports the dropped rows.",
    "label": "Asks the teacher for each answer; resumes at the row where it stopped.",
    "train": "Checks memory and time, then asks before it starts.",
    "resume": "Resumes from the last checkpoint, in the same run.",
    "compare": "Asks teacher and students the same prompts, side by side.",
    "evaluate": "Measures what the student keeps of the teacher.",
    "attach": "Watch the running job.",
    "new": "Writes qdl.toml and empty directories; nothing is downloaded.",
    "demo": "Writes a tiny teacher and its data; both students train in minutes on a CPU.",
    "open": "Opens that lab; runs of this one continue.",
}
STAGE_LOOKS = {
    "ready": ("✓", "$success"),
    "stale": ("!", "$warning"),
    "missing": ("·", "$text-muted"),
    "running": ("▶", "$primary"),
    "failed": ("✗", "$error"),
    "stopped": ("■", "$warning"),
    "skipped": ("-", "$text-muted"),
}


class StageTable(Static):
    """Two columns of stages, one for each student, as wide as the terminal lets them be."""

    status: LabStatus | None = None

    def __init__(self) -> None:
        super().__init__(markup=False, id="stages")

    def show_status(self, status: LabStatus) -> None:
        if status != self.status:
            self.status = status
            self.on_resize()

    def on_resize(self) -> None:
        status = self.status
        if status is None or not status.systems:
            return
        column = max(20, min(48, (self.size.width - 12) // 2))
        heads = "".join(f"{SYSTEM_NAMES[system.system]:{column}}" for system in status.systems)
        lines = [Content.assemble(" " * 12, (heads.rstrip(), "bold $accent"))]
        for name in STAGE_NAMES:
            cells = [self._cell(system.stage(name), column) for system in status.systems]
            lines.append(Content.assemble(f"{name:12}", *cells))
        self.update(Content("\n").join(lines))

    def _cell(self, stage: Stage, width: int) -> Content:
        sign, colour = STAGE_LOOKS[stage.state]
        detail = printable(stage_text(stage, width - 3))
        if len(detail) > width - 3:
            detail = f"{detail[: width - 4]}…"
        return Content.assemble((f"{sign} ", colour), f"{detail:{width - 2}}")


def stage_text(stage: Stage, width: int) -> str:
    """A stage in at most `width` cells where some wording has so few, else the shortest."""
    texts = [stage.detail, *_shorter(stage)]
    return next((text for text in texts if len(text) <= width), texts[-1])


def _shorter(stage: Stage) -> list[str]:
    if stage.changed:
        # Which settings the data do not have matters more than the sentence around them.
        keys = [difference.key for difference in stage.changed]
        texts = [f"prepared with other {', '.join(keys)}"]
        for shown in range(len(keys), 0, -1):
            rest = f" and {len(keys) - shown} more" if shown < len(keys) else ""
            texts.append(f"with other {', '.join(keys[:shown])}{rest}")
        return [*texts, f"with {len(keys)} other settings"]
    if stage.state == "stopped":
        return [stage.detail.partition(",")[0]]
    if stage.name == "config" and stage.state == "missing":
        return ["when training starts"]
    if stage.name == "config":
        # `kd_black_box_0001-train-system1.json`: what tells one from another is the run.
        run = stage.detail.rpartition("_")[2]
        return [f"…{run}", f"…{run.removesuffix('.json')}"]
    return []


def what_it_does(command: str) -> str:
    """What Enter will do, in a sentence; empty for a command whose name says it."""
    return DOES.get(command, "")


def steps_title(status: LabStatus) -> str:
    """What heads the steps: the next one, or that all are done."""
    stages = [stage for system in status.systems for stage in system.stages]
    done = all(stage.state in ("ready", "skipped") for stage in stages) and not status.active_runs
    return "Everything is ready. Repeat a step:" if done else "Next step"


def step_lines(steps: Sequence[Step], width: int) -> list[Content]:
    """Each step on one line of `width` cells, with what a person would type for it where all of that fits."""
    labels = [printable(step.label) for step in steps]
    typed = [f"qdl {' '.join(step.command)}" for step in steps]
    column = max(map(len, labels), default=0)
    room = width - column - max(map(len, typed), default=0)
    if room < 1:
        return [Content(label) for label in labels]
    column += min(room, GAP)
    return [
        Content.assemble(f"{label:{column}}", (command, "dim"))
        for label, command in zip(labels, typed, strict=True)
    ]


def troubles(status: LabStatus) -> list[str]:
    """What is wrong with the settings, then what failed, where the table has no room to say it whole."""
    failed = [
        f"{SYSTEM_NAMES[system.system]}, {stage.name} {stage.why}"
        for system in status.systems
        for stage in system.stages
        if stage.why and (len(stage.detail) > LONGEST_DETAIL or stage.why != stage.detail)
    ]
    return [*status.problems, *failed]


def trouble_lines(told: Sequence[str], width: int, rows: int, all_of_it: str) -> list[str]:
    """Troubles in at most `rows` lines, whole but for the first; a last line counts those left out."""
    lines: list[str] = []
    for place, trouble in enumerate(told):
        left = len(told) - place
        more = textwrap.wrap(f"{left} more: {all_of_it}", width)
        wrapped = textwrap.wrap(" ".join(printable(trouble).split()), width)
        room = rows - len(lines) - (len(more) if left > 1 else 0)
        if lines and len(wrapped) > room:
            return lines + more
        lines += wrapped if len(wrapped) <= room or not lines else wrapped[:room]
    return lines


def command_of(key: str, steps: dict[str, Step]) -> str:
    """The command behind an option of the list of steps."""
    return steps[key].command[0] if key in steps else key.split(" ", 1)[0]


def last_comparison(lab: Lab) -> str:
    """The newest comparison on one line; empty when there is none. For a worker thread."""
    from qdl_engine.compare.comparison import list_comparisons, load_comparison

    paths = list_comparisons(lab)
    if not paths:
        return ""
    path = max(paths, key=lambda found: found.stem)
    try:
        comparison = load_comparison(path)
    except LabError as broken:
        return one_line(broken.message, 200)
    count = len(comparison.prompts)
    models = ", ".join(comparison.models)
    prompts = f"{count:,} prompt{'' if count == 1 else 's'}"
    return printable(f"{_when(comparison.created) or path.stem}, {prompts}: {models}")


def _when(created: str) -> str:
    """A recorded time in local time; empty when it is not a time."""
    try:
        return datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def machine_text(machine: MachineStatus) -> str:
    """GPUs and disk on one line, EasyDistill on a second where there is one."""
    gpus = " · ".join(printable(gpu) for gpu in machine.gpus) or "no GPU: training runs on the CPU"
    disk = f"{gpus} · disk {size_text(machine.disk_free)} free of {size_text(machine.disk_total)}"
    return f"{disk}\n{printable(machine.easydistill)}" if machine.easydistill else disk
