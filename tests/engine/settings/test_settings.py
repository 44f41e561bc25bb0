"""Settings and `qdl.toml`: round trips with comments kept, refusals that help, forms made from the models."""

from __future__ import annotations

import difflib
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings, System1Settings, System2Settings
from qdl_engine.settings.fields import FieldInfo, all_fields, field_info, sections
from qdl_engine.settings.presets import PRESETS, Preset, apply_preset
from qdl_engine.settings.toml import (
    apply_overrides,
    default_toml,
    load_settings,
    save_settings,
    set_value,
    set_values,
    validate_file,
)

EVERY_FIELD = [info for section in sections() for info in all_fields(section)]
RULED_TEXTS = {
    "teacher.url": ["", "http://localhost:8000/v1", "https://h.example/a%20b"],
    "teacher.api_key_env": ["", "MY_KEY"],
}
RULED = {"system2.rv_min", "system2.rv_max", "system2.cd_min", "system2.cd_max"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path)


def write(lab: Lab, text: str) -> Lab:
    lab.settings_file.write_text(text, encoding="utf-8")
    return lab


def random_value(info: FieldInfo, draw: random.Random) -> Any:
    """Some value that this field accepts."""
    if info.key in RULED_TEXTS:
        return draw.choice(RULED_TEXTS[info.key])
    if info.kind == "choice":
        return draw.choice(info.choices)
    if info.kind == "bool":
        return draw.random() < 0.5
    if info.kind == "text":
        return "".join(draw.choice("aé😀\"'\\#=\n\t[]{} ") for _ in range(draw.randrange(1, 20))) + "x"
    if info.kind == "mapping":
        return {
            draw.choice(["instruction", "output", "thought"]): draw.choice(["col.0", "a b", 'q"t', "é#"])
            for _ in range(draw.randrange(4))
        }
    if info.kind == "int":
        low, high = (0, 9) if info.key in RULED else (16, 100)
        return draw.randint(low, high)
    return draw.choice([info.default, draw.uniform(0.5, 0.99) if info.key.endswith("beta2") else 0.25, 0.5])


def random_settings(draw: random.Random) -> LabSettings:
    values = LabSettings().model_dump()
    for info in draw.sample(EVERY_FIELD, draw.randrange(len(EVERY_FIELD) + 1)):
        section, name = info.key.split(".")
        values[section][name] = random_value(info, draw)
    for low, high in (("rv_min", "rv_max"), ("cd_min", "cd_max")):
        pair = sorted((values["system2"][low], values["system2"][high]))
        values["system2"][low], values["system2"][high] = pair
    return LabSettings.model_validate(values)


def comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]


def test_the_default_file_is_the_defaults_and_says_every_setting(lab: Lab) -> None:
    write(lab, default_toml())
    assert load_settings(lab) == LabSettings()
    assert validate_file(lab.settings_file) == []
    table = tomllib.loads(default_toml())
    assert {f"{s}.{k}" for s in table for k in table[s]} == {info.key for info in EVERY_FIELD}


@pytest.mark.parametrize("seed", range(60))
def test_what_is_saved_is_loaded_and_every_comment_stays(lab: Lab, seed: int) -> None:
    draw = random.Random(seed)
    start = draw.choice(["", default_toml(), "# mine\n[system2]  # also mine\nrows = 7  # few\n\n# last\n"])
    write(lab, start)
    for _ in range(3):
        settings = random_settings(draw)
        save_settings(lab, settings)
        assert load_settings(lab) == settings
    text = lab.settings_file.read_text(encoding="utf-8")
    assert [line for line in comments(text) if line in comments(start)] == comments(start)
    for remark in ("# also mine", "# few", "# last"):
        assert (remark in text) == (remark in start)


def test_saving_the_same_settings_changes_no_byte(lab: Lab) -> None:
    text = "# mine\n[system1]\nrows   =   0x10 # hex\nepochs = 2\n[system1.mapping] # cols\noutput = 'a'\n"
    text = text.replace("\n", "\r\n")
    lab.settings_file.write_bytes(text.encode())
    save_settings(lab, load_settings(lab))
    assert lab.settings_file.read_bytes() == text.encode()


def test_a_save_changes_the_one_value_and_keeps_the_remark_beside_it(lab: Lab) -> None:
    write(lab, "[system1]\nrows = 5 # few\nseed = 3\n")
    save_settings(lab, set_value(load_settings(lab), "system1.rows", "6"))
    assert lab.settings_file.read_text() == "[system1]\nrows = 6 # few\nseed = 3\n"


def test_a_mapping_table_is_changed_in_place(lab: Lab) -> None:
    write(lab, '[system1.mapping]\n# the question\ninstruction = "q" # q\noutput = "a"\n')
    settings = set_value(load_settings(lab), "system1.mapping", '{instruction = "question", input = "ctx"}')
    save_settings(lab, settings)
    assert load_settings(lab) == settings
    assert "# the question" in lab.settings_file.read_text() and "# q" in lab.settings_file.read_text()


def test_a_file_that_is_broken_is_not_overwritten(lab: Lab) -> None:
    write(lab, "[system1\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        save_settings(lab, LabSettings())
    assert lab.settings_file.read_text() == "[system1\n"


def test_no_lab_says_how_to_make_one(lab: Lab) -> None:
    with pytest.raises(SettingsError, match="init"):
        load_settings(lab)


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[system1]\nrow = 3", "system1.row", "system1.rows"),
        ("[sytem1]\nrows = 3", "sytem1", "system1"),
        ("rows = 3", "rows", "system1.rows"),
        ("rv_mim = 3", "rv_mim", "system2.rv_min"),
        ("[system1]\nrv_min = 3", "system1.rv_min", "system2.rv_min"),
        ('[teacher]\nquantization = "8bits"', "teacher.quantization", "'8bit'"),
        ("[system1]\nrows = true", "system1.rows", ""),
        ('[system1]\nrows = "10"', "system1.rows", ""),
        ("[system1]\nrows = 0", "system1.rows", ""),
        ("[system1]\nlearning_rate = nan", "system1.learning_rate", ""),
        ("[system2]\nrv_min = 6\nrv_max = 3", "system2.rv_min", ""),
        ("system1 = 3", "system1", ""),
        ("[system1.mapping]\na = 3", "system1.mapping.a", ""),
    ],
)
def test_a_refusal_names_file_key_and_nearest(lab: Lab, text: str, key: str, nearest: str) -> None:
    write(lab, text)
    (problem,) = validate_file(lab.settings_file)
    assert (problem.file, problem.key, problem.nearest) == (str(lab.settings_file), key, nearest)
    with pytest.raises(SettingsError) as error:
        load_settings(lab)
    assert str(lab.settings_file) in error.value.message and key in error.value.message
    assert nearest in error.value.hint and error.value.exit_code == 2


def test_every_problem_is_named_not_only_the_first(lab: Lab) -> None:
    write(lab, "[system1]\nrows = 0\nseed = -1\nsede = 2\n[teacher]\ntemperature = 9.0\n")
    keys = [problem.key for problem in validate_file(lab.settings_file)]
    assert sorted(keys) == ["system1.rows", "system1.sede", "system1.seed", "teacher.temperature"]
    with pytest.raises(SettingsError) as error:
        load_settings(lab)
    assert all(key in str(error.value) for key in keys)


@pytest.mark.parametrize("seed", range(80))
def test_a_slip_of_the_finger_finds_its_key_again(lab: Lab, seed: int) -> None:
    draw = random.Random(seed)
    info = draw.choice([info for info in EVERY_FIELD if len(info.key.split(".")[1]) > 5])
    section, name = info.key.split(".")
    place = draw.randrange(len(name))
    slip = name[:place] + draw.choice(["", "x", name[place] * 2]) + name[place + 1 :]
    names = [other.key.split(".")[1] for other in all_fields(section)]
    if slip in names:
        return
    (problem,) = validate_file(write(lab, f"[{section}]\n{slip} = 1\n").settings_file)
    best = max(names, key=lambda other: difflib.SequenceMatcher(None, slip, other).ratio())
    assert problem.nearest in (info.key, f"{section}.{best}")


@pytest.mark.parametrize("info", EVERY_FIELD, ids=lambda info: info.key)
def test_every_field_can_be_shown_in_a_form_and_set_from_text(info: FieldInfo) -> None:
    assert info.help.endswith(".") and info.group and info.bounds_text
    assert info == field_info(info.key)
    if info.kind in ("int", "float", "choice", "bool"):
        text = str(info.default).lower() if info.kind == "bool" else str(info.default)
        assert set_value(LabSettings(), info.key, text) == LabSettings()
        with pytest.raises(SettingsError, match=info.key) as error:
            set_value(LabSettings(), info.key, "no such value")
        assert info.bounds_text in error.value.hint


def test_settings_of_the_command_line_are_checked_together() -> None:
    settings = apply_overrides(
        LabSettings(), ["system2.rv_min=7", "system2.rv_max=8", "system1.rows = 1,500"]
    )
    assert (settings.system2.rv_min, settings.system2.rv_max, settings.system1.rows) == (7, 8, 1500)
    settings = apply_overrides(settings, ["system1.mapping.instruction=a=b", "runtime.python="])
    assert settings.system1.mapping == {"instruction": "a=b"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("system1.rows", "key=value"),
        ("system1.rowz=3", "system1.rows"),
        ("sistem1.rows=3", "system1.rows"),
        ("rows=3", "system1.rows"),
        ("system1.rows=many", "whole number, 1 to 10,000,000"),
        ("system1.label=maybe", "true | false"),
        ("system1.mapping={a", "columns by name"),
        ("system2.rv_min=10", "0 to 9"),
    ],
)
def test_a_wrong_override_says_what_would_be_right(override: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        apply_overrides(LabSettings(), [override])
    assert expected in str(error.value)


def test_a_wrong_value_leaves_the_settings_as_they_were() -> None:
    settings = LabSettings()
    with pytest.raises(SettingsError):
        set_values(settings, {"system1.rows": "5", "system1.seed": "-1"})
    assert settings == LabSettings()


def test_assignment_is_checked_too() -> None:
    with pytest.raises(ValidationError):
        System1Settings().rows = 0
    with pytest.raises(ValidationError):
        System2Settings(rv_min=5, rv_max=4)


def test_every_number_is_finite() -> None:
    numbers = [info for info in EVERY_FIELD if info.kind == "float"]
    assert any(info.key == "teacher.price_in" for info in numbers)
    for info in numbers:
        for value in ("inf", "nan", "1e400"):
            with pytest.raises(SettingsError, match=info.key):
                set_value(LabSettings(), info.key, value)


def test_an_unknown_key_of_a_mapping_is_refused_with_the_nearest(lab: Lab) -> None:
    write(lab, '[system1]\nfields = "mapping"\nmapping = {instrction = "q"}\n')
    (found,) = validate_file(lab.settings_file)
    assert (found.key, found.nearest) == ("system1.mapping.instrction", "system1.mapping.instruction")
    assert found.accepted.startswith("instruction, input, output")


def test_a_value_in_place_of_a_table(lab: Lab) -> None:
    write(lab, "system1 = 3\n")
    (found,) = validate_file(lab.settings_file)
    assert found.key == "system1" and "not a table" in found.message
    assert "[system1]" in found.accepted


def test_a_byte_order_mark_is_no_mistake_and_comments_survive(lab: Lab) -> None:
    write(lab, "\ufeff# mine\n[system1]\nrows = 3\n")
    save_settings(lab, set_value(load_settings(lab), "system1.rows", "4"))
    assert lab.settings_file.read_text() == "# mine\n[system1]\nrows = 4\n"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_is_accepted_and_changes_one_system(preset: Preset) -> None:
    before = LabSettings()
    one, two = apply_preset(before, "system1", preset.name), apply_preset(before, "system2", preset.name)
    assert (one.system2, two.system1) == (before.system2, before.system1)
    assert one.system1.max_steps == int(preset.system1["max_steps"])
    assert two.system2.lora_rank == int(preset.system2["lora_rank"])


def test_an_unknown_preset_is_refused_with_the_names_of_the_others() -> None:
    with pytest.raises(SettingsError, match="CPU trial"):
        apply_preset(LabSettings(), "system1", "TPU")
