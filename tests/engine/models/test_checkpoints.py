"""What is said of a model that cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.errors import ModelError
from qdl_engine.models.checkpoint import EXAMPLES, check_place, load_error
from qdl_engine.settings import LabSettings


def test_the_examples_are_the_models_of_a_fresh_lab() -> None:
    fresh = LabSettings()
    assert EXAMPLES["student"] == (fresh.system1.student, fresh.system2.student)
    assert EXAMPLES["teacher"] == (fresh.teacher.model,)


@pytest.mark.parametrize("name", EXAMPLES["student"])
def test_a_default_that_cannot_be_reached_is_not_told_to_be_another(name: str) -> None:
    told = load_error(name, "student", OSError("none"), reachable=False).hint
    assert f"with a network, {name} works" in told
    assert not any(other in told for other in EXAMPLES["student"] if other != name)


def test_of_another_model_both_defaults_are_named() -> None:
    told = load_error("someone/else", "student", OSError("none"), reachable=False).hint
    assert all(name in told for name in EXAMPLES["student"])


def test_a_home_of_nobody_is_a_path_to_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        check_place("~nobody-here/student", "student", tmp_path)
