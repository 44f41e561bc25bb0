"""The whole demo, as `qdl demo` runs it. Minutes long, hence slow."""

import sys
from pathlib import Path

import pytest

from qdl_engine.compare.comparison import list_comparisons, load_comparison
from qdl_engine.core.errors import RunError, SettingsError
from qdl_engine.core.events import Event, Metrics, no_sink
from qdl_engine.core.lab import Lab
from qdl_engine.demo.exam import Marks
from qdl_engine.demo.lab import create_demo_lab
from qdl_engine.demo.runner import _Demo, run_demo
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.store import Run, list_runs
from qdl_engine.settings.toml import load_settings


def test_a_lab_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "qdl.toml").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError):
        run_demo(tmp_path)


def sleeper(lab: Lab, demo: _Demo) -> Run:
    return demo._start("evaluate", "system1", [sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.fixture
def demo(tmp_path: Path) -> _Demo:
    lab = create_demo_lab(tmp_path / "lab")
    return _Demo(lab, load_settings(lab), no_sink)


def test_cancelling_stops_what_the_demo_started(demo: _Demo) -> None:
    run = sleeper(demo.lab, demo)
    demo.cancel()
    assert wait_for(run, timeout=20).state == "stopped"
    late = sleeper(demo.lab, demo)
    assert wait_for(late, timeout=20).state == "stopped"


def test_the_first_failure_is_told_and_ends_the_other_lane(
    demo: _Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Run] = []

    def waits(self: _Demo) -> dict[str, Marks]:
        runs.append(sleeper(self.lab, self))
        self._follow(runs[0], "system1")
        return {}

    def fails(self: _Demo) -> dict[str, Marks]:
        self._follow(
            self._start("evaluate", "system2", [sys.executable, "-c", "exit('bad luck')"]), "system2"
        )
        return {}

    monkeypatch.setattr(_Demo, "_lane1", waits)
    monkeypatch.setattr(_Demo, "_lane2", fails)
    with pytest.raises(RunError, match="bad luck"):
        demo.distil()
    assert wait_for(runs[0], timeout=20).state == "stopped"


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
    assert {event.system for event in events if isinstance(event, Metrics)} == {"system1", "system2"}
