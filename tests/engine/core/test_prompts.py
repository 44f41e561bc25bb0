"""Prompts: one rendering for training and use, and answers taken out of completions."""

from __future__ import annotations

import random
from typing import get_args

import jinja2
import pytest

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.prompts import (
    END_OF_TURN,
    Completion,
    Mode,
    format_completion,
    format_prompt,
    join_reasoning,
    split_completion,
    system_prompt_for,
    training_template,
)


def test_the_prompt_is_qwens_own_chatml() -> None:
    assert format_prompt("Hi") == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert format_prompt("Hi", system_prompt="").startswith("<|im_start|>system\n<|im_end|>\n")


def test_an_unknown_mode_names_the_two() -> None:
    with pytest.raises(SettingsError, match="system2"):
        system_prompt_for("system3")  # type: ignore[arg-type]


def random_text(draw: random.Random) -> str:
    return "".join(draw.choice("ab \n\t'\"\\{}%#-é😀<|>~") for _ in range(draw.randrange(30)))


@pytest.mark.parametrize("seed", range(200))
def test_the_training_template_renders_the_bytes_of_the_prompt(seed: int) -> None:
    draw = random.Random(seed)
    system, instruction, output = (random_text(draw) for _ in range(3))
    mode: Mode = draw.choice(get_args(Mode))
    # EasyDistill 1.0 renders with a plain environment.
    template = jinja2.Environment().from_string(training_template(system))
    message = {"content": instruction, "output": output}
    prompt = format_prompt(instruction, mode, system_prompt=system)
    rendered = template.render(message=message, add_generation_prompt=True, add_output=False)
    assert rendered == prompt
    trained = template.render(message=message, add_generation_prompt=False, add_output=True)
    assert trained == prompt + format_completion(output)


@pytest.mark.parametrize(
    ("text", "completion"),
    [
        ("42", Completion("", "42", True)),
        (f"42{END_OF_TURN}\nnext turn", Completion("", "42", True)),
        ("<think>\nwhy\n</think>\n42", Completion("why", "42", True)),
        ("why\n</think>\n42", Completion("why", "42", True)),
        ("<think>\nnever ends", Completion("never ends", "", False)),
        ("<think></think>42", Completion("", "42", True)),
        ("", Completion("", "", True)),
    ],
)
def test_completions_come_apart(text: str, completion: Completion) -> None:
    assert split_completion(text) == completion


def test_reasoning_joined_comes_apart_again() -> None:
    assert split_completion(join_reasoning(" why \n", "\n42 ")) == Completion("why", "42", True)
