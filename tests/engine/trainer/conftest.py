"""A tiny student, and labs that train it in a second or two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from qdl_engine.config.write import write_system1_config
from qdl_engine.core.events import Event, Metrics
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings
from tests.tiny import make_tiny_model

RECIPE = {
    "batch_size": 4,
    "gradient_accumulation": 1,
    "epochs": 2.0,
    "learning_rate": 1e-3,
    "max_length": 256,
    "held_out": 0.1,
    "eval_steps": 10,
    "save_steps": 10,
    "logging_steps": 5,
}


Kind = TypeVar("Kind")


@dataclass
class TinyLab:
    """A lab with rows and a config, and the events of its trainings."""

    lab: Lab
    config: Path
    events: list[Event] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.lab.system1_checkpoint

    @property
    def checkpoints(self) -> Path:
        return self.output.with_name(f"{self.output.name}.checkpoints")

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def losses(self) -> dict[int, float]:
        return {event.step: event.loss for event in self.of(Metrics)}

    def rewrite(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit the config as a person would."""
        raw = json.loads(self.config.read_text())
        change(raw)
        self.config.write_text(json.dumps(raw))


def some_rows(count: int = 60) -> list[dict[str, str]]:
    return [
        {"id": f"row-{at}", "instruction": f"Say {at}.", "output": f"{at} it is. " * (1 + at % 4)}
        for at in range(count)
    ]


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("student"))


@pytest.fixture
def make_lab(tmp_path: Path, student: Path) -> Callable[..., TinyLab]:
    def make(*, rows: list[Any] | None = None, name: str = "lab", **recipe: Any) -> TinyLab:
        lab = Lab.at(tmp_path / name)
        lab.create_directories()
        lab.train_labeled.write_text(json.dumps(some_rows() if rows is None else rows))
        values = {"student": str(student)} | RECIPE | recipe
        settings = LabSettings.model_validate({"system1": values})
        return TinyLab(lab, write_system1_config(lab, settings, config_id="t"))

    return make
