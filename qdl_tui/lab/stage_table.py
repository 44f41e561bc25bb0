"""Where each student stands, stage by stage, in words that fit the width."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import printable
from qdl_engine.lab_state.status import STAGE_NAMES, LabStatus, Stage

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
