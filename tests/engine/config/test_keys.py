"""The table of keys covers what EasyDistill 1.0's trainer takes, today's, and a recipe."""

from __future__ import annotations

import dataclasses

from trl import SFTConfig

from qdl_engine.config.keys import RECIPE, TRAINING
from qdl_engine.settings import System1Settings, System2Settings

TODAY = {item.name for item in dataclasses.fields(SFTConfig)}


def test_every_key_of_today_and_every_leftover_of_1_0_has_a_meaning() -> None:
    assert set(TRAINING) >= TODAY
    # Left over in TrainingArguments of transformers 4.51, by hand.
    assert {"tp_size", "torchdynamo", "mp_parameters", "push_to_hub_token", "split_batches"} <= set(TRAINING)


def test_what_is_passed_on_exists_today() -> None:
    assert {key.today or name for name, key in TRAINING.items() if key.today != ""} <= TODAY


def test_a_key_is_passed_on_or_says_why_not() -> None:
    for name, key in TRAINING.items():
        assert not (key.no_effect and key.instead), name
        assert key.today == "" or not (key.no_effect or key.instead), name


def test_a_recipe_is_written_from_settings_that_exist() -> None:
    settings = [key.setting for key in RECIPE.values()]
    assert len(set(settings)) == len(settings)
    for recipe in (System1Settings, System2Settings):
        assert set(settings) <= recipe.model_fields.keys()
