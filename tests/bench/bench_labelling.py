"""Labelling, many at once against one by one: the ratio of tokens per second, from one run.

    python -m pytest tests/bench/bench_labelling.py -m bench -s

The first bench's model is small and random; many stop tokens make its answers end at different lengths, as
real ones do. The second asks the demo's teacher the same questions in this process and at servers: a real
one, which shares this machine, and one of ours that only waits, as an address far away does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from qdl_engine.core.events import no_sink
from qdl_engine.core.prompts import format_prompt
from qdl_engine.demo.lab import TEACHER, demo_settings
from qdl_engine.demo.world import SYSTEM_PROMPTS, system2_samples
from qdl_engine.models.generate import generate
from qdl_engine.models.load import LoadedModel, load_student
from qdl_engine.teachers.base import Question, TeacherAnswer
from qdl_engine.teachers.make import make_teacher
from tests.engine.models.test_models import set_stop_tokens
from tests.engine.teachers.fault_server import fault_server
from tests.engine.teachers.transformers_server import INSTALL, MISSING, transformers_server
from tests.tiny import make_tiny_model

BATCH_SIZES = (1, 8, 32, 64)
PROMPTS, LONGEST = 128, 64
QUESTIONS, AT_ONCE = 64, 8
FAR_AWAY_SECONDS = 0.3
"""What an answer takes at a server that has room for everybody: a hosted one, whose queue is never ours."""


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


def asked(questions: list[Question], **settings: Any) -> float:
    """Tokens per second of the demo's teacher, its weights in memory before the clock starts."""
    teacher = make_teacher(demo_settings().teacher.model_copy(update=settings), Path())
    teacher.load(no_sink)
    started = time.perf_counter()
    results = [result for _, result in teacher.answer_each(questions, on_event=no_sink)]
    seconds = time.perf_counter() - started
    answers = [result for result in results if isinstance(result, TeacherAnswer)]
    assert len(answers) == len(questions)
    return sum(answer.tokens for answer in answers) / seconds


def compare(name: str, questions: list[Question], setting: str, many: int, **settings: Any) -> None:
    one = asked(questions, **{setting: 1}, **settings)
    at_once = asked(questions, **{setting: many}, **settings)
    print(
        f"\n{name:<42} {one:>6,.0f} tokens/s one by one, {at_once:>6,.0f} with {many}: {at_once / one:.1f}x",
        end="",
    )


@pytest.mark.bench
@pytest.mark.skipif(bool(MISSING), reason=INSTALL)
def test_many_requests_at_once_against_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    samples = system2_samples(QUESTIONS, seed=0)
    questions = [Question(sample.question, SYSTEM_PROMPTS["system2"]) for sample in samples]
    for many in (AT_ONCE, QUESTIONS):
        compare("in this process", questions, "batch_size", many)
    for options in ((), ("--continuous-batching",)):
        scratch = tmp_path / f"served{len(options)}"
        scratch.mkdir()
        with transformers_server(TEACHER, scratch, *options) as url:
            # Its first batch of each shape is slow.
            asked(questions, kind="server", url=url, concurrency=AT_ONCE)
            name = " ".join(("transformers serve", *options))
            compare(name, questions, "concurrency", AT_ONCE, kind="server", url=url)
    with fault_server() as server:
        server.before_answer = lambda question: (server.closing.wait(FAR_AWAY_SECONDS), None)[1]
        name = f"a stand-in that waits {FAR_AWAY_SECONDS} s an answer"
        compare(name, questions, "concurrency", AT_ONCE, kind="server", url=server.url, model="")
    print()
