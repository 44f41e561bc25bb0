"""Schedules of the learning rate: what the libraries refuse late is refused early, with words that work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from transformers import SchedulerType

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.events import Failed, Metrics
from qdl_engine.trainer.__main__ import train
from qdl_engine.trainer.arguments import check_schedule
from tests.engine.trainer.conftest import TinyLab

MakeLab = Callable[..., TinyLab]
KINDS = [kind.value for kind in SchedulerType]
NEED_KEYWORDS = ("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay")


def arguments(kind: str, keywords: Any = None, **values: Any) -> dict[str, Any]:
    return {"lr_scheduler_type": kind, "lr_scheduler_kwargs": keywords, **values}


def refused(given: dict[str, Any]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        check_schedule(given, held_out=True)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_needs_no_keywords_or_says_which_and_those_serve(kind: str) -> None:
    if kind not in NEED_KEYWORDS:
        check_schedule(arguments(kind), held_out=True)
        return
    error = refused(arguments(kind))
    assert error.message.startswith(f"training.lr_scheduler_type = {kind}: ")
    found = re.search(r"Set training.lr_scheduler_kwargs, such as (.*)\.$", error.hint)
    assert found is not None
    check_schedule(arguments(kind, json.loads(found[1])), held_out=True)
    check_schedule(arguments(kind, found[1]), held_out=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (arguments("cosin"), "Did you mean cosine?"),
        (arguments("linear", {"num_cycles": 2}), "training.lr_scheduler_kwargs.num_cycles: linear does not"),
        (arguments("cosine", {"num_cycle": 2}), "Did you mean num_cycles?"),
        (arguments("constant", {"power": 2.0}), "Accepted: none."),
        (arguments("reduce_lr_on_plateau", {"factr": 0.1}), "Did you mean factor?"),
        (arguments("reduce_lr_on_plateau", {"factor": 2}), "Factor should be < 1.0"),
        (arguments("cosine_with_min_lr", {"min_lr": 1e-5, "min_lr_rate": 0.1}), "Only one of min_lr"),
        (arguments("polynomial", learning_rate=1e-8), 'such as {"lr_end": 0.0}'),
        (arguments("inverse_sqrt", {"timescale": 0}), "division by zero"),
        (arguments("cosine", 3), "training.lr_scheduler_kwargs must be an object, not 3"),
        (arguments("cosine", "{"), "training.lr_scheduler_kwargs is not JSON"),
    ],
)
def test_what_the_libraries_would_refuse_is_named(given: dict[str, Any], words: str) -> None:
    assert words in str(refused(given))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("reduce_lr_on_plateau", "greedy")])
def test_a_schedule_by_the_held_out_loss_needs_held_out_rows(kind: str) -> None:
    with pytest.raises(SettingsError, match="goes by the loss on held-out rows") as error:
        check_schedule(arguments(kind), held_out=False)
    assert "qdl.held_out" in error.value.hint


def test_a_training_is_refused_before_the_student_is_looked_for(make_lab: MakeLab) -> None:
    tiny = make_lab()

    def change(raw: dict[str, Any]) -> None:
        raw["models"]["student"] = "/nope"
        raw["training"]["lr_scheduler_type"] = "cosine_with_min_lr"

    tiny.rewrite(change)
    assert train(tiny.config, sink=tiny.events.append) == 2
    assert "lr_scheduler_type = cosine_with_min_lr" in tiny.of(Failed)[0].message


@pytest.mark.parametrize(
    "given",
    [
        arguments("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        arguments("warmup_stable_decay", {"num_decay_steps": 2}),
        arguments("reduce_lr_on_plateau", {"factor": 0.5, "patience": 0}),
        arguments("reduce_lr_on_plateau", {"min_lr": [1e-6, 1e-5]}),
        arguments("polynomial", {"power": 2.0}),
        arguments("inverse_sqrt"),
    ],
)
def test_what_is_accepted_trains(make_lab: MakeLab, given: dict[str, Any]) -> None:
    tiny = make_lab(max_steps=3, eval_steps=1, logging_steps=1, warmup_ratio=0.0)
    tiny.rewrite(lambda raw: raw["training"].update(given))
    assert train(tiny.config, sink=tiny.events.append) == 0
    rates = [event.learning_rate for event in tiny.of(Metrics)]
    assert len(rates) == 3 and rates[0] == pytest.approx(1e-3)
