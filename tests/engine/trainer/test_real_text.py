"""Both recipes on real text, from `qdl.toml` to a checkpoint; skipped where the text is not at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.config.write import write_system1_config, write_system2_config
from qdl_engine.core.events import Evaluated, Event
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import System
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.settings.toml import load_settings
from qdl_engine.trainer.__main__ import train
from tests.tiny import make_tiny_model

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real text is not here"),
]

SETTINGS = """
[system1]
student = "student"
source = "{data}/alpaca_en_demo.json"
rows = 240
max_length = 700
batch_size = 4
gradient_accumulation = 1
max_steps = 60
learning_rate = 3e-3
held_out = 0.1
eval_steps = 20

[system2]
student = "student"
source = "{data}/gsm8k_train.jsonl"
fields = "mapping"
mapping = {{ instruction = "question", answer = "answer" }}
rows = 240
max_length = 700
batch_size = 4
gradient_accumulation = 1
max_steps = 60
learning_rate = 3e-3
held_out = 0.1
eval_steps = 20
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab.at(tmp_path_factory.mktemp("real"))
    lab.create_directories()
    lab.settings_file.write_text(SETTINGS.format(data=DATA))
    texts = [row["output"] for row in json.loads((DATA / "alpaca_en_demo.json").read_text())]
    texts += (DATA / "gsm8k_train.jsonl").read_text().splitlines()
    make_tiny_model(lab.root / "student", hidden=64, layers=2, vocab_texts=texts)
    return lab


@pytest.mark.parametrize("system", ["system1", "system2"])
def test_the_held_out_loss_falls(lab: Lab, system: System) -> None:
    settings = load_settings(lab)
    if system == "system1":
        prepare_system1_dataset(lab, settings.system1)
        config = write_system1_config(lab, settings)
    else:
        prepare_system2_dataset(lab, settings.system2)
        config = write_system2_config(lab, settings)
        first = json.loads(lab.omnithought_cot.read_text())[0]
        assert first["output"].startswith("<think>\n") and "\n</think>\n" in first["output"]
    events: list[Event] = []
    assert train(config, sink=events.append) == 0
    losses = [event.held_out_loss for event in events if isinstance(event, Evaluated)]
    print(f"\n{system}: held-out loss {' -> '.join(f'{loss:.3f}' for loss in losses)}")
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.7
    assert (lab.checkpoint(system) / "model.safetensors").is_file()
