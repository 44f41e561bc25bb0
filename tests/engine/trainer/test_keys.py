"""A foreign config is refused early for an unknown key, by the same keys that the trainer knows."""

from __future__ import annotations

from qdl_engine.easydistill.imported.keys import TRAINING
from qdl_engine.trainer.arguments import known_keys


def test_every_training_key_has_a_meaning() -> None:
    assert set(TRAINING) <= set(known_keys())
