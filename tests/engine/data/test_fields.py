"""Schemas: what each makes of a row, and how `auto` chooses among them."""

from __future__ import annotations

from typing import Any

import pytest

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.data.schemas import (
    Chain,
    Drop,
    as_level,
    as_verdict,
    at_path,
    chains_of,
    choose_schema,
    detect_schema,
    mapped,
)


def chains(fields: str, row: Any, mapping: dict[str, str] | None = None) -> list[Chain | Drop]:
    return chains_of(row, choose_schema(fields, mapping or {}, [], source="test")[1])


def only(fields: str, row: Any, mapping: dict[str, str] | None = None) -> Chain | Drop:
    (chain,) = chains(fields, row, mapping)
    return chain


OMNI = {
    "question": "What is 2 + 2?",
    "reasoning": [
        {
            "thought": "Two and two.",
            "solution": "4",
            "full_response": "ignored",
            "teacher": "DeepSeek-R1",
            "thought_correctness_verify": True,
            "Reasoning_Verbosity": {"level": 4, "judge": "QwQ-32B"},
            "Cognitive_Difficulty": {"level": 1, "judge": "QwQ-32B"},
        },
        {"thought": "Guess.", "solution": "5", "thought_correctness_verify": False},
    ],
}


def test_distilqwen_takes_its_two_columns() -> None:
    assert only("distilqwen", {"instruction": "Hi", "output": "Hello"}) == Chain("Hi", "Hello")


def test_alpaca_merges_input_into_the_instruction() -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}
    assert only("alpaca", row) == Chain("Translate.\n\nGuten Tag", "Good day")
    assert only("alpaca", {**row, "input": ""}) == Chain("Translate.", "Good day")


def test_reasoning_in_the_tags_of_easydistill_is_taken_out() -> None:
    whole = "<|begin_of_thought|> Add. <|end_of_thought|>\n<|begin_of_solution|> 2"
    assert only("distilqwen", {"instruction": "Q", "output": whole}) == Chain("Q", "2", "Add.")
    other = "<thinking>Add.</thinking><answer>2</answer>"
    assert only("distilqwen", {"instruction": "Q", "output": other}) == Chain("Q", "2", "Add.")
    cut = {"instruction": "Q", "output": "<|begin_of_thought|>Add"}
    assert only("distilqwen", cut) == Chain("Q", "Add", cut=True)
    no_answer = {"instruction": "Q", "output": "<|begin_of_thought|>Add<|end_of_thought|>"}
    assert only("distilqwen", no_answer) == Chain("Q", "Add")


def test_omnithought_gives_every_record_with_its_own_levels() -> None:
    first, second = chains("omnithought", OMNI)
    assert first == Chain("What is 2 + 2?", "4", "Two and two.", rv=4, cd=1, verified=True)
    assert second == Chain("What is 2 + 2?", "5", "Guess.", verified=False)


def test_omnithought_falls_back_to_the_full_response_only_where_the_parts_are_missing() -> None:
    row = {"question": "Q", "reasoning": [{"full_response": "<think>\nbecause\n</think>\nA"}]}
    assert only("omnithought", row) == Chain("Q", "A", "because")


@pytest.mark.parametrize("reasoning", ["text", None, 3, {"thought": "x"}])
def test_omnithought_without_a_list_of_records_is_broken(reasoning: Any) -> None:
    assert only("omnithought", {"question": "Q", "reasoning": reasoning}) == Drop(
        "broken", "reasoning is not a list of records"
    )


def test_one_broken_record_costs_only_itself() -> None:
    row = {"question": "Q", "reasoning": ["oops", {"thought": ["x"]}, {"thought": "t", "solution": "s"}]}
    first, second, third = chains("omnithought", row)
    assert isinstance(first, Drop) and isinstance(second, Drop)
    assert third == Chain("Q", "s", "t")


def test_tags_around_thought_and_solution_are_taken_off() -> None:
    record = {
        "thought": "<|begin_of_thought|>\nwhy\n<|end_of_thought|>",
        "solution": "<|begin_of_solution|>42<|end_of_solution|>",
    }
    assert only("omnithought", {"question": "Q", "reasoning": [record]}) == Chain("Q", "42", "why")
    tagged = {"thought": "<think>\nwhy\n</think>", "solution": "42"}
    assert only("omnithought", {"question": "Q", "reasoning": [tagged]}) == Chain("Q", "42", "why")


def test_gsm8k_answers_come_apart_at_the_last_line() -> None:
    row = {"question": "How many?", "answer": "3 and 4\n#### is a comment\n7 in all\n#### 7"}
    assert only("qa", row) == Chain("How many?", "7", "3 and 4\n#### is a comment\n7 in all")
    assert only("qa", {"question": "How many?", "answer": "7"}) == Chain("How many?", "7")


def test_a_markdown_heading_is_no_final_line_outside_qa() -> None:
    row = {"instruction": "Write.", "output": "Text\n#### Heading"}
    assert only("distilqwen", row) == Chain("Write.", "Text\n#### Heading")


def test_reasoning_inside_an_output_is_taken_out() -> None:
    assert only("alpaca", {"instruction": "Q", "output": "<think>\na\n</think>\nb"}) == Chain("Q", "b", "a")
    cut = only("alpaca", {"instruction": "Q", "output": "<think>\nnever ends"})
    assert isinstance(cut, Chain) and cut.cut and cut.answer == ""


def test_messages_take_one_turn_each_and_skip_longer_talks() -> None:
    system, user = {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}
    reply = {"role": "assistant", "content": "Hello"}
    assert only("messages", {"messages": [system, user, reply]}) == Chain("Hi", "Hello")
    assert only("messages", {"messages": [user]}) == Chain("Hi", "")
    long = only("messages", {"messages": [user, reply, user, reply]})
    assert long == Drop("multi-turn", "user assistant user assistant")


def test_messages_read_sharegpt_names_parts_and_reasoning() -> None:
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    assert only("messages", row) == Chain("Hi", "Hello")
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    reply = {"role": "assistant", "content": parts, "reasoning_content": "be polite"}
    assert only("messages", {"messages": [{"role": "user", "content": "Hi"}, reply]}) == Chain(
        "Hi", "Hello", "be polite"
    )


def test_a_mapping_takes_dotted_paths() -> None:
    row = {"meta": {"q": "Q"}, "steps": [{"text": "why"}], "a.b": "dotted column", "result": 7, "level": "3"}
    mapping = {"instruction": "meta.q", "thought": "steps.0.text", "answer": "result", "rv": "level"}
    assert only("mapping", row, mapping) == Chain("Q", "7", "why", rv=3)
    assert at_path(row, "a.b") == "dotted column"
    assert at_path(row, "steps.9.text") is None
    assert at_path(row, "meta.q.deeper") is None


def test_a_mapping_with_a_wrong_key_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="'instruction'"):
        mapped({"instuction": "q"})
    with pytest.raises(SettingsError, match="no instruction column"):
        mapped({"output": "a"})


@pytest.mark.parametrize("row", ["text", 3, None, ["a"]])
def test_what_is_no_object_is_broken(row: Any) -> None:
    assert isinstance(only("distilqwen", row), Drop)


def test_a_column_that_is_no_text_is_broken_and_named() -> None:
    assert only("distilqwen", {"instruction": {"a": 1}, "output": "x"}) == Drop(
        "broken", "instruction is dict, not text"
    )


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"instruction": "", "output": ""}, "distilqwen"),
        ({"instruction": "", "input": "", "output": ""}, "alpaca"),
        (OMNI, "omnithought"),
        ({"question": "", "answer": ""}, "qa"),
        ({"messages": []}, "messages"),
        ({"instruction": "prompts alone"}, "distilqwen"),
    ],
)
def test_auto_recognises_each_schema(row: dict[str, Any], name: str) -> None:
    assert detect_schema([row], source="test") == name


def test_auto_names_the_columns_it_does_not_know() -> None:
    with pytest.raises(DataError, match="here: completion, prompt"):
        detect_schema([{"prompt": "a", "completion": "b"}], source="here")


def test_a_mapping_wins_over_auto_and_an_unknown_schema_names_the_nearest() -> None:
    assert choose_schema("auto", {"instruction": "q"}, [{"question": ""}], source="t")[0] == "mapping"
    with pytest.raises(SettingsError, match="'alpaca'"):
        choose_schema("alpacca", {}, [], source="t")


@pytest.mark.parametrize(
    ("value", "level"),
    [(4, 4), (4.5, 4.5), ("4", 4), ({"level": 4}, 4), (None, None), (True, None), (12, None), ("x", None),
     (float("nan"), None), ({}, None), (-1, None), (0, 0), (9, 9)],
)  # fmt: skip
def test_levels(value: Any, level: float | None) -> None:
    assert as_level(value) == level


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(True, True), (False, False), (None, None), ("True", True), ("false", False), (1, True), (0, False),
     ({"judge": "?"}, False)],
)  # fmt: skip
def test_a_verdict_that_cannot_be_read_is_no_pass(value: Any, verdict: bool | None) -> None:
    assert as_verdict(value) is verdict


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_broken(value: float) -> None:
    drop = only("distilqwen", {"instruction": "a", "output": value})
    assert isinstance(drop, Drop) and drop.step == "broken" and "output is" in drop.detail


@pytest.mark.parametrize("column", ["question", "thought", "solution"])
def test_half_a_surrogate_pair_is_broken_wherever_it_stands(column: str) -> None:
    row = {"question": "q", "thought": "t", "solution": "s"} | {column: "half \ud800"}
    drop = only("omnithought", {"question": row["question"], "reasoning": [row]})
    assert isinstance(drop, Drop) and (drop.step, drop.detail[:17]) == ("broken", "not valid Unicode")
