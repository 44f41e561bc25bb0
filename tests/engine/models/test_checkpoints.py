"""The errors for models that cannot be loaded."""

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


@pytest.mark.parametrize("name", [*EXAMPLES["student"], "someone/else"])
def test_what_works_with_a_network_is_the_default_itself_or_all_of_them(name: str) -> None:
    hint = load_error(name, "student", OSError("none"), reachable=False).hint
    expected = [name] if name in EXAMPLES["student"] else [*EXAMPLES["student"]]
    assert [example for example in EXAMPLES["student"] if example in hint] == expected


def test_a_home_of_nobody_is_a_path_to_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="directory does not exist"):
        check_place("~nobody-here/student", "student", tmp_path)
