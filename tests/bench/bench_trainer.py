"""The built-in runtime against TRL loops on the same rows: ratios of tokens per second and peak memory.

    python -m pytest tests/bench/bench_trainer.py -m bench -s

Each trains in a process of its own, one after the other, on one thread. `plain` is TRL as its defaults have
it (but for the CPU); `tuned` is TRL with what its documentation recommends: rows grouped by length, and no
gradient checkpointing. Tokens are those of the rows, without padding, a CPU second, which other work on the
machine disturbs least; loading and tokenising do not count.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_tiny_model

ROWS, EPOCHS, BATCH = 800, 1, 8


def make_rows() -> list[dict[str, str]]:
    """Sums with worked steps: answers of 10 to 120 tokens, like short reasoning."""
    chance = random.Random(7)
    rows = []
    for _ in range(ROWS):
        terms = [chance.randint(2, 99) for _ in range(chance.randint(2, 9))]
        steps, total = [], 0
        for term in terms:
            steps.append(f"{total}+{term}={total + term}")
            total += term
        question = f"What is {' + '.join(map(str, terms))}?"
        rows.append({"instruction": question, "output": "\n".join([*steps, str(total)])})
    return rows


def train_plain(student: str, rows_file: str, tuned: bool) -> dict[str, float]:
    """What a person writes who follows TRL's quick start for prompt-completion rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from qdl_engine.core.prompts import format_completion, format_prompt

    rows = json.loads(Path(rows_file).read_text())
    dataset = Dataset.from_list(
        [
            {"prompt": format_prompt(r["instruction"]), "completion": format_completion(r["output"])}
            for r in rows
        ]
    )
    options: dict[str, Any] = {"train_sampling_strategy": "group_by_length"} if tuned else {}
    arguments = SFTConfig(
        output_dir=str(Path(rows_file).with_name("plain")), per_device_train_batch_size=BATCH,
        num_train_epochs=EPOCHS, learning_rate=1e-3, report_to="none", use_cpu=True, bf16=False,
        max_length=1024, logging_steps=20, save_strategy="no", disable_tqdm=True,
        gradient_checkpointing=not tuned, **options,
    )  # fmt: skip
    trainer = SFTTrainer(model=student, args=arguments, train_dataset=dataset)
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset) * EPOCHS
    began = time.process_time()
    trainer.train()
    return _figures(tokens, time.process_time() - began)


def train_built_in(student: str, rows_file: str) -> dict[str, float]:
    from qdl_engine.config.model import read_config
    from qdl_engine.config.write import write_system1_config
    from qdl_engine.core.events import Event
    from qdl_engine.core.lab import Lab
    from qdl_engine.settings import LabSettings
    from qdl_engine.trainer.__main__ import train
    from qdl_engine.trainer.plan import make_plan

    recipe = {
        "student": student, "batch_size": BATCH, "gradient_accumulation": 1, "epochs": float(EPOCHS),
        "learning_rate": 1e-3, "max_length": 1024, "held_out": 0.0, "logging_steps": 20, "save_steps": 100000,
    }  # fmt: skip
    lab = Lab.at(Path(rows_file).with_name("lab"))
    settings = LabSettings.model_validate({"system1": recipe})
    config = write_system1_config(lab, settings, labeled_path=Path(rows_file))
    times: dict[str, float] = {}

    def sink(event: Event) -> None:
        times[event.kind] = time.process_time()

    if train(config, sink=sink):
        raise SystemExit("the training failed")
    plan = make_plan(read_config(config), sink)
    tokens = sum(len(row.input_ids) for row in plan.rows) * EPOCHS
    return _figures(tokens, times["metrics"] - times["started"])


def _figures(tokens: int, seconds: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tokens_per_second": tokens / seconds, "peak_bytes": peak, "seconds": seconds}


def measure(kind: str, student: Path, rows_file: Path) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_trainer", kind, str(student), str(rows_file)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(shown.stdout.splitlines()[-1])
    return figures


@pytest.mark.bench
def test_built_in_against_trl(tmp_path: Path) -> None:
    rows = make_rows()
    rows_file = tmp_path / "rows.json"
    rows_file.write_text(json.dumps(rows))
    texts = [f"{row['instruction']}\n{row['output']}" for row in rows]
    student = make_tiny_model(tmp_path / "student", hidden=96, layers=3, vocab_texts=texts)
    figures = {kind: measure(kind, student, rows_file) for kind in ("plain", "tuned", "builtin")}
    print()
    for kind, values in figures.items():
        print(
            f"{kind:8} {values['tokens_per_second']:8,.0f} tokens/CPU s  {values['seconds']:6.1f} s  "
            f"peak {values['peak_bytes'] / 2**20:,.0f} MiB"
        )
    for kind in ("plain", "tuned"):
        speed = figures["builtin"]["tokens_per_second"] / figures[kind]["tokens_per_second"]
        memory = figures["builtin"]["peak_bytes"] / figures[kind]["peak_bytes"]
        print(f"built-in / {kind}: {speed:.2f} x tokens/CPU s, {memory:.2f} x peak memory")


if __name__ == "__main__":
    chosen, model, data = sys.argv[1:]
    if chosen == "builtin":
        print(json.dumps(train_built_in(model, data)))
    else:
        print(json.dumps(train_plain(model, data, tuned=chosen == "tuned")))
