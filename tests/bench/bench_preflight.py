"""What preflight predicts against what trainings take, on a CPU: peak memory and tokens a second.

    python -m pytest tests/bench/bench_preflight.py -m bench -s

Each case trains in a process of its own, on one thread. Memory is the peak over what the process held after
its imports. Speed from the first step to the last is predicted from the CPU's class alone and held against
CPU seconds; and from an earlier run of the same student, as `qdl preflight` does when a lab has one, for rows
that are a quarter longer, held against seconds: those need a machine with nothing else to do. The time of the
whole process, start, held-out loss and saving included, is held against its CPU seconds.

    QDL_CASES="LoRA|tiles" python -m pytest tests/bench/bench_preflight.py -m bench -s     # only some cases
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings


@dataclass(frozen=True)
class Case:
    """One training; every row has `prompt` and about `length` tokens, one byte each."""

    name: str
    hidden: int = 256
    intermediate: int = 1024
    layers: int = 6
    vocabulary: int = 1000
    batch: int = 4
    passes: int = 1
    length: int = 400
    prompt: int = 100
    lora: int = 0
    steps: int = 4
    held_out: float = 0.0
    save_steps: int = 100_000


CASES = (
    Case("small batch", batch=1, length=200, steps=12),
    Case("batch of 4"),
    Case("batch of 12", batch=12, length=300),
    Case("4 passes a step", passes=4, length=250, steps=3),
    Case("long rows", batch=2, length=1200),
    Case("narrow and deep", hidden=128, intermediate=512, layers=12, batch=6, length=300),
    Case("wide and shallow", hidden=512, intermediate=2048, layers=3, batch=2, length=300),
    Case("wide, 4 passes", hidden=512, intermediate=2048, layers=3, batch=2, passes=4, length=300, steps=3),
    Case("large vocabulary", vocabulary=8000, batch=8, length=250, prompt=60),
    Case("logits in tiles", vocabulary=30000, batch=6, length=300, prompt=60, steps=3),
    Case("LoRA", lora=8),
    Case("LoRA, 3 passes", lora=8, passes=3, length=300, steps=3),
    Case("held out, saved", held_out=0.25, save_steps=2, steps=8),
    Case("MLP of 3072", intermediate=3072, batch=8, length=400, steps=3),
)


def make_student(case: Case, directory: Path) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from tests.tiny import make_tiny_tokenizer

    tokenizer = make_tiny_tokenizer(directory)
    heads = case.hidden // 64
    config = Qwen2Config(
        vocab_size=case.vocabulary, hidden_size=case.hidden, intermediate_size=case.intermediate,
        num_hidden_layers=case.layers, num_attention_heads=heads, num_key_value_heads=heads // 2,
        max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(directory)
    return directory


def make_lab(case: Case, root: Path, student: Path) -> tuple[Lab, LabSettings]:
    from qdl_engine.core.prompts import format_prompt

    lab = Lab.at(root)
    lab.create_directories()
    # One byte is one token, and so is each of the six marks of a turn.
    frame = len(format_prompt("", system_prompt="S").replace("<|im_start|>", "#").replace("<|im_end|>", "#"))
    rows = [
        {
            "id": str(at),
            "instruction": "q" * (case.prompt - frame),
            "output": "a" * (case.length - case.prompt - 1 - at % 5),
        }
        for at in range(case.batch * case.passes * case.steps)
    ]
    lab.train_labeled.write_text(json.dumps(rows))
    recipe = {
        "student": str(student), "batch_size": case.batch, "gradient_accumulation": case.passes,
        "epochs": 1.0, "learning_rate": 1e-4, "max_length": 8192, "logging_steps": 1,
        "held_out": case.held_out, "save_steps": case.save_steps, "lora_rank": case.lora,
        "system_prompt": "S",
    }  # fmt: skip
    return lab, LabSettings.model_validate({"system1": recipe, "runtime": {"threads": 1}})


def train_and_measure(config: Path, events: Path) -> dict[str, Any]:
    """In the child: peak bytes over the imports, and tokens a CPU second after the first step."""
    import bitsandbytes  # noqa: F401 - peft imports it when a model gets adapters

    import qdl_engine.trainer.checkpoint
    import qdl_engine.trainer.session  # noqa: F401
    from qdl_engine.core.events import Event, Metrics, append_event
    from qdl_engine.trainer.__main__ import train

    base = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    times: list[tuple[float, int]] = []

    def sink(event: Event) -> None:
        append_event(events, event)
        if isinstance(event, Metrics):
            times.append((time.process_time(), event.step))

    if train(config, sink=sink):
        raise SystemExit("the training failed")
    (first, _), (last, _) = times[0], times[-1]
    return {
        "bytes": _status("VmHWM") - base,
        "seconds": last - first,
        "steps": len(times) - 1,
        "whole": time.process_time(),
    }


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def measure(config: Path, events: Path) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_preflight", str(config), str(events)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
    return figures


def told_rate(events: Path) -> float:
    """Tokens a second as the run itself told them, without the first report."""
    from qdl_engine.core.events import Metrics
    from qdl_engine.runs.reader import EventTail

    told = [event.tokens_per_second for event in EventTail(events).read() if isinstance(event, Metrics)]
    return median(told[1:])


def error(predicted: float, measured: float) -> str:
    return f"{predicted / measured - 1:+5.0%}"


@pytest.mark.bench
def test_predicted_against_measured(tmp_path: Path) -> None:
    from qdl_engine.config.write import write_system1_config
    from qdl_engine.preflight import examine
    from qdl_engine.runs.store import create_run, save_run

    print(f"\n{'case':18}{'parameters':>11}{'predicted':>11}{'measured':>10}{'error':>7}  tokens/CPU s")
    memory, class_rates, whole = [], [], []
    wanted = re.compile(os.environ.get("QDL_CASES", ""))
    for case in filter(lambda case: wanted.search(case.name), CASES):
        student = make_student(case, tmp_path / case.name / "student")
        lab, settings = make_lab(case, tmp_path / case.name / "lab", student)
        found = examine(lab, settings, "system1", device="cpu")
        config = write_system1_config(lab, settings)
        run = create_run(lab, "train", system="system1", argv=["true"], config=config)
        figures = measure(config, run.events_file)
        save_run(replace(run, state="done"))
        tokens = found.rows.tokens * figures["steps"] / found.rows.steps
        rate = tokens / figures["seconds"]
        longer = replace(case, length=case.length + case.length // 4)
        lab, settings = make_lab(longer, lab.root, student)
        later = examine(lab, settings, "system1", device="cpu")
        events = tmp_path / case.name / "events.jsonl"
        measure(write_system1_config(lab, settings), events)
        measured = told_rate(events)
        peak = figures["bytes"]
        memory.append(abs(found.memory.total / peak - 1))
        class_rates.append(abs(found.duration.tokens_per_second / rate - 1))
        whole.append(abs(found.duration.seconds / figures["whole"] - 1))
        print(
            f"{case.name:18}{found.parameters / 1e6:>10.1f}M{found.memory.total / 2**20:>7,.0f} MiB"
            f"{peak / 2**20:>6,.0f} MiB{error(found.memory.total, peak):>7}  by class "
            f"{found.duration.tokens_per_second:,.0f}, measured {rate:,.0f} "
            f"({error(found.duration.tokens_per_second, rate)}); whole {found.duration.seconds:,.0f} s, "
            f"measured {figures['whole']:,.0f} s ({error(found.duration.seconds, figures['whole'])}); "
            "rows a quarter longer: by that run "
            f"{later.duration.tokens_per_second:,.0f}, measured {measured:,.0f} "
            f"({error(later.duration.tokens_per_second, measured)})",
            flush=True,
        )
    for name, errors in (("memory", memory), ("tokens/s by class", class_rates), ("whole time", whole)):
        print(f"{name}: mean error {sum(errors) / len(errors):.0%}, largest {max(errors):.0%}")


if __name__ == "__main__":
    print(json.dumps(train_and_measure(Path(sys.argv[1]), Path(sys.argv[2]))))
