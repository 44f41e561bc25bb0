"""The user's own settings: read with every mistake named, saved with the comments kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import user_settings_file
from qdl_engine.settings.user import (
    EasyDistillRecord,
    UserSettings,
    load_user_settings,
    save_user_settings,
)


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = user_settings_file()
    assert path.is_relative_to(tmp_path)
    path.parent.mkdir(parents=True)
    return path


def test_no_file_is_the_defaults() -> None:
    assert load_user_settings() == UserSettings()


def test_what_is_saved_is_loaded() -> None:
    settings = UserSettings(
        easydistill=EasyDistillRecord(python="/a b/python", checkout="/c", version="1.0", commit="abc"),
        keymap={"lab.train": "f5,ctrl+t"},
    )
    save_user_settings(settings)
    assert load_user_settings() == settings


def test_comments_and_order_survive_a_save(file: Path) -> None:
    file.write_text(
        '# mine\n[keymap]\n"lab.help" = "f2" # at last\nold = "x"\n\n[easydistill]\n# seen\npython = "p"\n'
    )
    settings = load_user_settings()
    del settings.keymap["old"]
    settings.keymap["new"] = "n"
    settings.easydistill.commit = "abc"
    save_user_settings(settings)
    text = file.read_text()
    assert text.startswith('# mine\n[keymap]\n"lab.help" = "f2" # at last\n')
    assert "old" not in text and 'new = "n"' in text
    assert '# seen\npython = "p"' in text and 'commit = "abc"' in text
    assert "checkout" not in text
    assert load_user_settings() == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[easydistill]\npyton = "x"\n',
            ["easydistill.pyton", "unknown key", "checkout", "easydistill.python"],
        ),
        (
            "[keymaps]\n",
            ["keymaps", "unknown key", "tables easydistill, easydistill2, keymap", "mean keymap"],
        ),
        ("[keymap]\nhelp = 3\n", ["keymap.help", "'3' is not accepted", "keys as text"]),
        ("keymap = 3\n", ["keymap", "'3' is not a table", "[keymap]"]),
        ("[easydistill]\npython = true\n", ["easydistill.python", "'True' is not accepted", "text"]),
        ("[keymap\n", ["not valid TOML"]),
    ],
)
def test_a_bad_file_is_named_with_key_and_cure(file: Path, text: str, words: list[str]) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_user_settings()
    for word in (str(file), *words):
        assert word in str(error.value)


def test_a_broken_file_is_never_overwritten(file: Path) -> None:
    file.write_text("[keymap\n")
    with pytest.raises(SettingsError):
        save_user_settings(UserSettings(keymap={"a": "b"}))
    assert file.read_text() == "[keymap\n"


def test_a_home_that_cannot_be_written_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = file.parent / "blocker"
    blocker.write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(blocker))
    with pytest.raises(LabError, match="cannot be written"):
        save_user_settings(UserSettings(keymap={"a": "b"}))
