"""What the lab screen says beside its table: what a step will do, and how the last comparison came out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime

from textual.content import Content

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import one_line, printable
from qdl_engine.lab_state.status import LabStatus, Step

GAP = 3
"""Cells between a step and its command, where there is room."""
LONGEST_DETAIL = 30
"""Characters of a stage that the table shows on 80 columns."""
DOES = {
    "prepare": "Filters and measures the rows of the source; reports what was dropped.",
    "label": "Asks the teacher for each answer; goes on at the row where it stopped.",
    "train": "Shows first whether it fits and how long it takes; it is started from there.",
    "resume": "Goes on from the last checkpoint, in the same run.",
    "compare": "Asks teacher and students the same prompts, side by side.",
    "evaluate": "Measures what the student keeps of the teacher.",
    "attach": "Shows the log and the loss of a run that goes on.",
    "new": "Writes qdl.toml and empty directories; nothing is downloaded.",
    "demo": "Writes a tiny teacher and its data; both students train in minutes on a CPU.",
    "open": "Goes to that lab; runs of this one go on.",
}


def what_it_does(command: str) -> str:
    """What Enter will do, in a sentence; empty for a command that says it by its name."""
    return DOES.get(command, "")


def steps_title(status: LabStatus) -> str:
    """What heads the steps: one is the next, unless there is nothing that was not done."""
    stages = [stage for system in status.systems for stage in system.stages]
    done = all(stage.state in ("ready", "skipped") for stage in stages) and not status.active_runs
    return "All is done. Again:" if done else "Next step"


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
    """Troubles in at most `rows` lines; those left out are counted.

    A trouble that has no room is left out whole, but for the first.
    """
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
    """A time of the record as the clock on the wall says it; empty for one that is none."""
    try:
        return datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""
