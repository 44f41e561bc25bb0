"""Labelling, batched against one by one: the ratio of tokens per second, from one run.

    python -m pytest tests/bench/bench_labelling.py -m bench -s

The model is small and random; many stop tokens make its answers end at different lengths, as real ones do.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from qdl_engine.models import LoadedModel, generate, load_student
from qdl_engine.prompts import format_prompt
from tests.engine.test_models import set_stop_tokens
from tests.tiny import make_tiny_model

BATCH_SIZES = (1, 8, 32, 64)
PROMPTS, LONGEST = 128, 64


def library_generate(loaded: LoadedModel, prompts: list[str], batch_size: int) -> int:
    """The same work by `model.generate` on length-sorted batches; the number of tokens up to each end."""
    from transformers import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=LONGEST, do_sample=False, eos_token_id=sorted(loaded.stop_ids), pad_token_id=0
    )
    tokens = 0
    ordered = sorted(prompts, key=len, reverse=True)
    for start in range(0, len(ordered), batch_size):
        batch = loaded.tokenizer(
            ordered[start : start + batch_size], return_tensors="pt", padding=True, add_special_tokens=False
        )
        output = loaded.model.generate(**batch, generation_config=config)
        for row in output[:, batch.input_ids.shape[1] :].tolist():
            ends = [place for place, token in enumerate(row) if token in loaded.stop_ids]
            tokens += ends[0] if ends else len(row)
    return tokens


@pytest.mark.bench
def test_batched_against_one_by_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    directory = make_tiny_model(tmp_path, seed=3, hidden=128, layers=4, lively=True)
    set_stop_tokens(directory, [0, 2, 40, 90, 140])
    loaded = load_student(directory)
    prompts = [format_prompt(f"Question {number} " + "and more " * (number % 9)) for number in range(PROMPTS)]
    generate(loaded, prompts[:8], max_new_tokens=8)
    speeds = {}
    for batch_size in BATCH_SIZES:
        started = time.process_time()
        answers = generate(loaded, prompts, max_new_tokens=LONGEST, batch_size=batch_size)
        speeds[batch_size] = sum(answer.tokens for answer in answers) / (time.process_time() - started)
        ratio = speeds[batch_size] / speeds[1]
        print(
            f"\nbatch {batch_size:>4}: {speeds[batch_size]:>7,.0f} tokens per CPU second, {ratio:.1f}x",
            end="",
        )
    started = time.process_time()
    tokens = library_generate(loaded, prompts, BATCH_SIZES[-1])
    library = tokens / (time.process_time() - started)
    ratio = speeds[BATCH_SIZES[-1]] / library
    print(
        f"\nmodel.generate, batch {BATCH_SIZES[-1]}: {library:,.0f} tokens per CPU second; ours {ratio:.1f}x"
    )
