"""Where results may go: nothing that a person made is moved or removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qdl_engine.core.errors import SettingsError
from qdl_engine.models.checkpoint import RECORD_FILE
from qdl_engine.models.outputs import check_checkpoint_place, check_output_file, previous_place


def checkpoint(directory: Path, *, ours: bool = False) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").touch()
    if ours:
        (directory / RECORD_FILE).write_text("{}")
    return directory


def test_a_new_an_empty_and_an_old_checkpoints_place_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    checkpoint(tmp_path / "old")
    for name in ("new", "new/deeper", "empty", "old"):
        check_checkpoint_place(tmp_path / name, "output_dir")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "old"], (
        "asking leaves nothing behind"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", "is, or holds"),
        ("..", "is, or holds"),
        ("lab/configs", "is, or holds"),
        ("lab", "is, or holds"),
        ("rows.json", "is a file"),
        ("results", "other things than a checkpoint"),
        ("long" * 100, "nothing can be written"),
        ("a\0b", "nothing can be written"),
    ],
)
def test_a_place_that_holds_anything_else_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "lab/configs").mkdir(parents=True)
    config = tmp_path / "lab/configs/my.json"
    for file in (config, tmp_path / "rows.json"):
        file.touch()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match=why) as refused:
        check_checkpoint_place(tmp_path / name, "training.output_dir", kept=[config])
    assert refused.value.message.startswith("training.output_dir: ")


def test_the_current_directory_and_home_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "home/me")
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    monkeypatch.chdir(checkpoint(tmp_path / "here"))
    for place in (tmp_path / "here", tmp_path / "home"):
        with pytest.raises(SettingsError, match="is, or holds"):
            check_checkpoint_place(place, "output_dir")


def test_a_base_student_stays_and_one_of_ours_may_be_trained_on(tmp_path: Path) -> None:
    base, ours = checkpoint(tmp_path / "base"), checkpoint(tmp_path / "ours", ours=True)
    with pytest.raises(SettingsError, match="is, or holds"):
        check_checkpoint_place(base, "output_dir", kept=[base])
    check_checkpoint_place(ours, "output_dir", kept=[ours])


def test_only_a_checkpoint_of_ours_gives_its_place_up(tmp_path: Path) -> None:
    place = tmp_path / "student"
    assert previous_place(place).name == "student.previous"
    (tmp_path / "student.previous").mkdir()
    assert previous_place(place).name == "student.previous-2", "it may be the user's"
    (tmp_path / "student.previous" / RECORD_FILE).write_text("{}")
    assert previous_place(place).name == "student.previous"


def test_an_output_is_a_file_that_nobody_needs(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    check_output_file(tmp_path / "new.jsonl", "--output", kept=[rows])
    check_output_file(tmp_path / "deep/new.jsonl", "--output", kept=[rows])
    for place in (rows, tmp_path / "x/../rows.jsonl"):
        with pytest.raises(SettingsError, match="would be lost"):
            check_output_file(place, "--output", kept=[rows])
    for place in (tmp_path, Path(os.devnull)):
        with pytest.raises(SettingsError, match="is not a file"):
            check_output_file(place, "--output")
