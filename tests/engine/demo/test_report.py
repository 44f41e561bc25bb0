import json
import sys
from pathlib import Path

import pytest

from qdl_engine.demo.exam import Marks
from qdl_engine.demo.report import DemoReport, ModelFigures, Score, score


def marks(name: str, right: int, *, tokens: int = 400) -> Marks:
    return Marks(name, {"sort": right, "add": 0}, {"sort": 40, "add": 60}, tokens, 2.0, 1_000_000)


@pytest.fixture
def report() -> DemoReport:
    return DemoReport(
        directory=Path("/lab"),
        seconds=123.4,
        teacher=ModelFigures(marks("teacher", 40), 2_000_000),
        teacher_direct=ModelFigures(marks("teacher_direct", 20), 2_000_000),
        system1=ModelFigures(marks("system1", 40), 700_000, marks("base1", 2), simple=("sort",)),
        system2=ModelFigures(marks("system2", 38), 700_000, marks("base2", 0)),
        comparison=Path("/lab/comparisons/1.json"),
        stages={"prepare": 1.23},
    )


def test_score_counts_over_chosen_tasks() -> None:
    assert score(marks("x", 30)) == Score(30, 100)
    assert score(marks("x", 30), ["sort"]).accuracy == 0.75


def test_interval_holds_the_share_and_stays_on_the_scale() -> None:
    for right in (0, 1, 50, 100):
        low, high = Score(right, 100).interval
        assert 0 <= low <= right / 100 <= high <= 1
    assert Score(100, 100).interval[0] < 0.97


def test_json_has_the_keys_that_are_promised(report: DemoReport) -> None:
    value = json.loads(json.dumps(report.as_dict()))
    assert value["teacher"]["accuracy"] == 0.4
    assert value["system1"]["before"] == 0.02
    assert value["system1"]["after"] == 0.4
    assert value["system1"]["simple"] == {"before": 0.05, "after": 1.0}
    assert value["system2"]["before"] == 0.0
    assert value["system2"]["after"] == 0.38
    assert value["seconds"] == 123.4


def test_table_fits_a_terminal_and_says_what_the_demo_is(report: DemoReport) -> None:
    text = str(report)
    assert "nothing else" in text
    assert text.splitlines()[-1].endswith("qdl-tui /lab")
    assert "System 1, simple tasks" in text
    assert "200" in text
    assert max(len(line) for line in text.splitlines()[:-1]) <= 79


def test_the_app_is_named_as_it_can_be_typed_here(
    report: DemoReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(report).endswith(f"{Path(sys.executable).parent}/qdl-tui /lab")
    (tmp_path / "qdl-tui").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "qdl-tui").chmod(0o755)
    assert str(report).endswith("Open it: qdl-tui /lab")
