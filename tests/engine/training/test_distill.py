"""distill_*: settings in, student out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, RunError, SettingsError
from qdl_engine.core.events import Event
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings, System1Settings
from qdl_engine.training.distill import distill_system1, distill_system2, lab_settings
from tests.tiny import make_tiny_model


def test_settings_of_every_shape_mean_the_same() -> None:
    whole = {"system1": {"rows": 7}, "teacher": {"batch_size": 3}}
    assert lab_settings(whole, "system1").teacher.batch_size == 3
    assert lab_settings({"rows": 7}, "system1").system1.rows == 7
    assert lab_settings({"rv_min": 3}, "system2").system2.rv_min == 3
    assert lab_settings(System1Settings(rows=7), "system1").system1.rows == 7
    settings = LabSettings()
    assert lab_settings(settings, "system2") is settings


def test_a_key_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError) as refused:
        lab_settings({"rwos": 7}, "system1")
    assert "system1.rwos" in str(refused.value) and "rows" in refused.value.hint


def test_no_rows_start_nothing(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "student")
    (tmp_path / "rows.json").write_text('[{"instruction": "a", "output": ""}]')
    with pytest.raises(DataError, match="No data for System 1 distillation"):
        distill_system1({"source": "rows.json", "student": "student"}, lab=Lab.at(tmp_path))
    assert not list((tmp_path / "runs").iterdir())


RECIPE: dict[str, Any] = {
    "student": "student", "batch_size": 4, "gradient_accumulation": 1, "max_steps": 4, "learning_rate": 1e-3,
    "max_length": 400,
}  # fmt: skip


@pytest.mark.slow
def test_both_students_from_settings_to_checkpoint(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "student")
    rows = [{"instruction": f"Say {n}", "output": f"{n}."} for n in range(40)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    levels = {"Reasoning_Verbosity": {"level": 3}, "Cognitive_Difficulty": {"level": 2}}
    chains = [
        {"question": f"{n} + 1?", "reasoning": [{"thought": f"{n} and one", "solution": str(n + 1)} | levels]}
        for n in range(40)
    ]
    (tmp_path / "chains.json").write_text(json.dumps(chains))
    events: list[Event] = []
    lab = Lab.at(tmp_path)
    one = distill_system1(RECIPE | {"source": "rows.json"}, lab=lab, on_event=events.append)
    two = distill_system2(RECIPE | {"source": "chains.json"}, lab=lab)
    assert (one.state, two.state) == ("done", "done")
    assert one.output_dir == lab.system1_checkpoint and (one.output_dir / "model.safetensors").is_file()
    assert one.metrics["steps"] == 4
    assert {"progress", "started", "metrics", "finished"} <= {event.kind for event in events}
    record = json.loads((two.output_dir / "qdl_checkpoint.json").read_text())
    assert record["system"] == "system2" and "<think>" in record["system_prompt"]


@pytest.mark.slow
def test_a_failed_run_raises_what_the_run_said(tmp_path: Path) -> None:
    student = make_tiny_model(tmp_path / "student")
    rows = [{"instruction": f"Say {n}", "output": f"{n}."} for n in range(40)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    lab = Lab.at(tmp_path)
    (student / "model.safetensors").unlink()
    with pytest.raises(RunError) as failed:
        distill_system1(RECIPE | {"source": "rows.json"}, lab=lab)
    assert failed.value.message == f"Invalid student model: {student}"


@pytest.mark.parametrize("config", [None, [1], "rows"])
def test_what_is_no_config_is_refused(config: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not a config"):
        distill_system1(config, lab=Lab.at(tmp_path))
