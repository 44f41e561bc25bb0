"""A lab with a tiny student and prepared rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings
from tests.tiny import make_tiny_model

RECIPE = {"batch_size": 4, "gradient_accumulation": 2, "max_length": 256, "held_out": 0.1, "epochs": 2.0}


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("student"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    return lab


@pytest.fixture
def settings(tiny_student: Path) -> LabSettings:
    return LabSettings.model_validate({"system1": RECIPE | {"student": str(tiny_student)}})


def write_rows(lab: Lab, count: int = 60) -> None:
    rows = [
        {"id": f"row-{at}", "instruction": f"Say {at}.", "output": f"{at} it is. " * (1 + at % 4)}
        for at in range(count)
    ]
    rows.append({"id": "long", "instruction": "Long?", "output": "x" * 300})
    rows.append({"id": "broken", "instruction": "", "output": "y"})
    lab.train_labeled.write_text(json.dumps(rows), encoding="utf-8")
