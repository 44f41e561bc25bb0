"""A foreign config is refused early for an unknown key, by the same keys that the trainer knows."""

from __future__ import annotations

import dataclasses

from trl import SFTConfig

from qdl_engine.config.keys import DROPPED
from qdl_engine.trainer.arguments import known_keys
from qdl_engine.upstream.foreign.config import TRAINING


def test_every_training_key_has_a_meaning() -> None:
    assert set(TRAINING) <= set(known_keys())


def test_no_key_that_only_the_trainer_of_1_0_had_is_unknown_to_an_import() -> None:
    today = {item.name for item in dataclasses.fields(SFTConfig)}
    assert set(known_keys()) - today <= set(TRAINING)
    assert set(DROPPED) <= set(TRAINING)
    # Left over in TrainingArguments of transformers 4.51, by hand.
    assert {"tp_size", "torchdynamo", "mp_parameters", "push_to_hub_token", "split_batches"} <= set(TRAINING)
