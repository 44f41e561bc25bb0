"""The whole demo, as `qdl demo` runs it. Minutes long, hence slow."""

from pathlib import Path

import pytest

from qdl_engine.comparison import list_comparisons, load_comparison
from qdl_engine.demo.runner import run_demo
from qdl_engine.errors import SettingsError
from qdl_engine.events import Event
from qdl_engine.lab import Lab
from qdl_engine.runs import list_runs


def test_a_lab_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "qdl.toml").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError):
        run_demo(tmp_path)


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    events: list[Event] = []
    report = run_demo(tmp_path / "lab", events.append).as_dict()
    assert report["teacher"]["accuracy"] > 0.95
    assert report["system1"]["before"] < 0.05
    assert report["system2"]["before"] < 0.05
    assert report["system2"]["after"] >= 0.85
    assert report["system1"]["simple"]["after"] >= 0.95
    lab = Lab.at(tmp_path / "lab")
    assert {run.state for run in list_runs(lab)} == {"done"}
    comparison = load_comparison(list_comparisons(lab)[0])
    assert set(comparison.models) == {"teacher", "system1", "system2"}
    assert {event.get("system") for event in events if event["event"] == "metrics"} == {"system1", "system2"}
