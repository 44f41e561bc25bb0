"""What is trained on, decoded from a real batch of the real trainer."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import SFTTrainer

from qdl_engine.config.model import read_config
from qdl_engine.config.template import parse_template
from qdl_engine.core.events import no_sink
from qdl_engine.core.prompts import format_prompt, training_template
from qdl_engine.core.stop import StopRequest
from qdl_engine.data.json_rows import SourceRow
from qdl_engine.trainer.loop import LabTrainer, ProgressCallback, answer_loss
from qdl_engine.trainer.plan import Plan, make_plan
from qdl_engine.trainer.rows import (
    IGNORED,
    EpochSampler,
    TokenRow,
    lab_order,
    split_held_out,
    tokenise_rows,
    upstream_order,
)
from qdl_engine.trainer.session import make_trainer
from qdl_engine.trainer.student import load_student, load_tokenizer
from tests.engine.trainer.conftest import TinyLab, some_rows

MakeLab = Callable[..., TinyLab]


def trainer_of(tiny: TinyLab) -> tuple[Plan, LabTrainer]:
    plan = make_plan(read_config(tiny.config), no_sink)
    student = load_student(plan.config.student, plan.tokenizer, plan.precision, plan.config.extras.lora)
    started = {"rows": 0, "device": "", "precision": ""}
    return plan, make_trainer(plan, student, ProgressCallback(no_sink, StopRequest(), started))


def test_the_loss_covers_the_answer_and_its_end_token_and_nothing_else(make_lab: MakeLab) -> None:
    plan, trainer = trainer_of(make_lab(system_prompt="Be brief. It's {{ x }}."))
    rows = {row["id"]: row for row in some_rows()}
    batch = next(iter(trainer.get_train_dataloader()))
    tokenizer = plan.tokenizer
    assert batch["input_ids"].shape[0] == 4
    for ids, labels, mask, index in zip(
        batch["input_ids"], batch["labels"], batch["attention_mask"], batch["row_index"], strict=True
    ):
        row = rows[plan.rows[int(index)].id]
        trained = labels[labels != IGNORED]
        assert tokenizer.decode(trained) == row["output"] + "<|im_end|>"
        assert trained[-1] == tokenizer.eos_token_id
        prompt = ids[(labels == IGNORED) & mask.bool()]
        asked = format_prompt(row["instruction"], system_prompt="Be brief. It's {{ x }}.")
        assert tokenizer.decode(prompt).encode() == asked.encode()
        assert prompt.tolist() == tokenizer(asked, add_special_tokens=False)["input_ids"]
        # One piece: prompt, answer, padding.
        assert labels[mask.bool()].ne(IGNORED).int().diff().ne(0).sum() == 1


def test_the_loss_is_the_masked_cross_entropy(make_lab: MakeLab) -> None:
    _, trainer = trainer_of(make_lab())
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        total, count = 0.0, 0
        for row, labels in zip(logits.double(), batch["labels"], strict=True):
            for at in range(1, len(labels)):
                if labels[at] != IGNORED:
                    total -= float(torch.log_softmax(row[at - 1], -1)[labels[at]])
                    count += 1
        by_hand = total / count
        assert abs(float(answer_loss(trainer.model, batch)) - by_hand) < 1e-5
        assert abs(float(trainer.compute_loss(trainer.model, dict(batch))) - by_hand) < 1e-5
        trainer._direct = False  # TRL's own loss, which is kept on a GPU.
        assert abs(float(trainer.compute_loss(trainer.model, dict(batch))) - by_hand) < 1e-5
        halved = float(
            trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=torch.tensor(2 * count))
        )
        assert abs(halved - by_hand / 2) < 1e-5


@pytest.mark.parametrize("training", [{"label_smoothing_factor": 0.5}, {"loss_type": "dft"}])
def test_another_loss_is_the_one_that_is_trained(make_lab: MakeLab, training: dict[str, Any]) -> None:
    tiny = make_lab()
    tiny.rewrite(lambda raw: raw["training"].update(training))
    _, trainer = trainer_of(tiny)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        plain = float(answer_loss(trainer.model, batch))
        wanted = float(SFTTrainer.compute_loss(trainer, trainer.model, dict(batch)))
        assert abs(wanted - plain) > 1e-3
        assert float(trainer.compute_loss(trainer.model, dict(batch))) == pytest.approx(wanted)


def tokenise(student: Path, rows: list[Any], max_length: int | None = 256) -> Any:
    template = parse_template(training_template("S"))
    source = [SourceRow(at, row) for at, row in enumerate(rows, 1)]
    return tokenise_rows(source, load_tokenizer(str(student), template), template, max_length)


def test_long_and_broken_rows_are_dropped_counted_and_named(student: Path) -> None:
    rows: list[Any] = [
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "output": "b" * 300},
        {"instruction": "a", "output": None},
        {"instruction": " ", "output": "b"},
        "no object",
        {"instruction": "a", "output": "b<|im_end|>c"},
        {"instruction": "a", "output": "b<|im_end|>"},
    ]
    kept, counts = tokenise(student, rows)
    assert (counts.read, counts.kept, counts.broken, counts.too_long) == (7, 2, 4, 1)
    assert "line 3: output is missing" in counts.dropped_in_words(256)
    assert "1 over 256 tokens" in counts.dropped_in_words(256)
    assert kept[0].input_ids == kept[1].input_ids, "an end token that is there already is not doubled"


def test_a_row_of_exactly_the_limit_is_kept_whole(student: Path) -> None:
    rows = [{"instruction": "a", "output": "b" * 50}]
    length = len(tokenise(student, rows)[0][0].input_ids)
    assert len(tokenise(student, rows, length)[0]) == 1
    assert len(tokenise(student, rows, length - 1)[0]) == 0


def test_held_out_rows_do_not_hang_on_the_order_of_the_file() -> None:
    rows = [TokenRow(f"r{at}", array("i", [0] * 5), 1) for at in range(200)]
    train, held = split_held_out(rows, 0.1, 42)
    turned = split_held_out(rows[::-1], 0.1, 42)[1]
    assert (len(train), len(held)) == (180, 20)
    assert {row.id for row in held} == {row.id for row in turned}
    assert {row.id for row in held} != {row.id for row in split_held_out(rows, 0.1, 43)[1]}
    more = split_held_out([*rows, TokenRow("new", array("i", [0]), 0)], 0.1, 42)[1]
    assert len({row.id for row in held} & {row.id for row in more}) >= 19
    assert split_held_out(rows[:1], 0.5, 1)[1] == []


def sampler_of(lengths: list[int], *, grouped: bool = True, longest_first: bool = True) -> EpochSampler:
    order = lab_order(lengths, 8, 42, group_by_length=grouped, longest_first=longest_first)
    return EpochSampler(len(lengths), order)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_sampler_visits_every_row_once_whatever_was_sampled_before(grouped: bool) -> None:
    lengths = [7 + (at * 37) % 90 for at in range(1003)]
    sampler = sampler_of(lengths, grouped=grouped)
    first = list(sampler)
    assert sorted(first) == list(range(1003))
    assert list(sampler_of(lengths, grouped=grouped)) == first
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(1003))
    assert list(sampler) != first


def test_grouped_rows_are_padded_little() -> None:
    lengths = [7 + (at * 37) % 90 for at in range(1003)]
    order = list(sampler_of(lengths))
    padding = sum(
        max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch)
        for batch in (order[at : at + 8] for at in range(0, 1003, 8))
    )
    assert padding < 0.1 * sum(lengths)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_longest_rows_end_the_second_step_of_the_first_epoch(grouped: bool) -> None:
    lengths = [7 + (at * 37) % 90 for at in range(1003)]
    lengths[500] = 200
    sampler = sampler_of(lengths, grouped=grouped)
    order = list(sampler)
    assert order[15] == 500, "the last row of the second step, when gradients and moments are there"
    for step in (order[:8], order[8:16]):
        assert [lengths[index] for index in step] == sorted(lengths[index] for index in step)
    sampler.set_epoch(1)
    assert 500 not in list(sampler)[:16], "later epochs need not prove it again"


def test_without_grouping_the_steps_are_the_shuffled_ones_in_another_order() -> None:
    lengths = [7 + (at * 37) % 90 for at in range(1003)]
    plain = list(sampler_of(lengths, grouped=False, longest_first=False))
    moved = list(sampler_of(lengths, grouped=False))
    steps = {frozenset(plain[at : at + 8]) for at in range(0, 1000, 8)}
    assert {frozenset(moved[at : at + 8]) for at in range(0, 1000, 8)} == steps
    first = set(moved[:16])
    assert [index for index in plain if index not in first] == moved[16:]
    assert moved[1000:] == plain[1000:]


def test_a_config_that_does_not_ask_keeps_its_order(make_lab: MakeLab) -> None:
    orders = []
    for asked in (True, False):
        tiny = make_lab(name=f"lab-{asked}", group_by_length=False)
        if not asked:
            tiny.rewrite(lambda raw: raw["qdl"].pop("longest_first"))
        plan, trainer = trainer_of(tiny)
        sampler = trainer._get_train_sampler()
        orders.append([len(plan.rows[index].input_ids) for index in sampler])
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]
    longest = max(orders[0])
    assert orders[0][7] == longest, "one step is four rows"


def test_the_order_of_easydistill_is_that_of_datasets_and_then_of_accelerate() -> None:
    from accelerate.data_loader import SeedableRandomSampler
    from datasets import Dataset

    rows = Dataset.from_dict({"row": list(range(50))}).shuffle(seed=7)["row"]
    theirs = SeedableRandomSampler(rows, data_seed=11)
    ours = EpochSampler(50, upstream_order(50, 7, 11))
    for epoch in range(3):
        theirs.set_epoch(epoch)
        ours.set_epoch(epoch)
        assert list(ours) == [rows[at] for at in theirs]
