"""What a template renders is what counts."""

from __future__ import annotations

import pytest
from jinja2 import Environment

from qdl_engine.config.template import parse_template
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.prompts import format_completion, format_prompt, training_template

PROMPTS = ["You are Qwen.", 'It\'s "so" \\n {{ x }} {% if %}\nsecond line', "", "é漢\ttab"]

# As EasyDistill 1.0 ships it: training and use ask in different words, and the answer ends in "-".
STOCK = (
    "{{'<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n<|im_start|>user\\n' "
    "+ message['content'] + '<|im_end|>\\n'}}{% if add_output %}\n{% endif %}"
    "  {{'<|im_start|>assistant\\n'}}{% if add_output %}{{message['output'] + '<|im_end|>'}}-\n{% endif %}"
)


@pytest.mark.parametrize("system_prompt", PROMPTS)
def test_our_template_renders_the_bytes_of_format_prompt(system_prompt: str) -> None:
    template = parse_template(training_template(system_prompt))
    for instruction in ("Why?", "a {{ b }} 'c'\n", "  spaces  "):
        assert template.prompt(instruction) == format_prompt(instruction, system_prompt=system_prompt)
    assert template.system_prompt == system_prompt
    assert template.same_in_training


def test_training_text_is_prompt_answer_and_end_token() -> None:
    jinja = Environment().from_string(training_template("S"))
    row = {"content": "Q", "output": "A\n"}
    trained = jinja.render(message=row, add_output=True)
    assert trained == format_prompt("Q", system_prompt="S") + format_completion("A\n")


@pytest.mark.parametrize("system_prompt", PROMPTS)
def test_the_chat_template_asks_as_the_training_did(system_prompt: str) -> None:
    template = parse_template(training_template(system_prompt))
    chat = Environment(trim_blocks=True, lstrip_blocks=True).from_string(template.chat_template())
    user = {"role": "user", "content": "A 'b' {{ c }}\n"}
    expected = format_prompt("A 'b' {{ c }}\n", system_prompt=system_prompt)
    assert chat.render(messages=[user], add_generation_prompt=True) == expected
    system = {"role": "system", "content": "Other."}
    assert chat.render(messages=[system, user], add_generation_prompt=True) == format_prompt(
        user["content"], system_prompt="Other."
    )
    answer = {"role": "assistant", "content": "B"}
    assert chat.render(messages=[user, answer]) == expected + "B<|im_end|>\n"


def test_the_stock_template_is_told_from_one_that_agrees_with_itself() -> None:
    template = parse_template(STOCK)
    assert not template.same_in_training
    assert template.system_prompt is None
    chat = Environment().from_string(template.chat_template())
    asked = chat.render(messages=[{"role": "user", "content": "Q"}], add_generation_prompt=True)
    assert asked == template.prompt("Q")


@pytest.mark.parametrize(
    "source", ["no instruction", "{{ message['content'] ~ message['content'] }}", "{% if %}"]
)
def test_a_template_that_cannot_serve_is_refused(source: str) -> None:
    with pytest.raises(SettingsError):
        parse_template(source)
