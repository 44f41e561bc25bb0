"""The one place that renders a prompt, at training and at inference, and takes an answer out of a completion.

The rendered text is ChatML exactly as Qwen2.5's own chat template writes it for a system and a user turn.
EasyDistill 1.0's stock template differs between training and generation (two spaces, a blank line, a stray
"-"), so the lab ships its own template file; `training_template` renders the same bytes as `format_prompt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qdl_engine.core.errors import SettingsError

Mode = Literal["system1", "system2"]

END_OF_TURN = "<|im_end|>"
THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

SYSTEM_PROMPTS: dict[str, str] = {
    # Qwen2.5's own default, so that an untouched student is asked in the words it was tuned with.
    "system1": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "system2": (
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant. Reason step by step between "
        "<think> and </think>, then give the final answer."
    ),
}


def system_prompt_for(mode: Mode, override: str | None = None) -> str:
    """The system prompt of a mode, or the recipe's own when it sets one."""
    if mode not in SYSTEM_PROMPTS:
        raise SettingsError(f"Unknown mode: {mode!r}", 'Use mode="system1" or mode="system2".')
    return SYSTEM_PROMPTS[mode] if override is None else override


def format_prompt(instruction: str, mode: Mode = "system1", *, system_prompt: str | None = None) -> str:
    """Render one instruction as the text the model continues.

    Args:
        instruction: What the user asks.
        mode: Which student's system prompt to use.
        system_prompt: Replaces the mode's own system prompt.

    Returns:
        ChatML text that ends right after `<|im_start|>assistant` and a newline.
    """
    system = system_prompt_for(mode, system_prompt)
    return (
        f"<|im_start|>system\n{system}{END_OF_TURN}\n"
        f"<|im_start|>user\n{instruction}{END_OF_TURN}\n"
        f"<|im_start|>assistant\n"
    )


def format_completion(output: str) -> str:
    """The trained part of a row: the answer and its end token, nothing after."""
    return f"{output}{END_OF_TURN}"


def training_template(system_prompt: str) -> str:
    """The Jinja template that EasyDistill takes as `dataset.template`.

    With `add_generation_prompt` it renders `format_prompt`'s bytes; with `add_output` it renders those bytes,
    then `message['output']` and the end token.
    """
    escaped = system_prompt.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return (
        "{{- '<|im_start|>system\\n" + escaped + "<|im_end|>\\n<|im_start|>user\\n'"
        " ~ message['content'] ~ '<|im_end|>\\n' -}}\n"
        "{%- if add_generation_prompt or add_output -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n"
        "{%- if add_output -%}{{- message['output'] ~ '<|im_end|>' -}}{%- endif -%}"
    )


@dataclass(frozen=True)
class Completion:
    """A completion taken apart."""

    reasoning: str
    """The text between the reasoning tags, empty when there is none."""
    answer: str
    """What follows the reasoning; empty while the reasoning is still open."""
    reasoning_closed: bool
    """False when the completion opened its reasoning and never closed it."""


def split_completion(text: str) -> Completion:
    """Take reasoning and answer out of a completion.

    A completion that opens `<think>` and never closes it has no answer: cut reasoning must not be read as
    one. A completion that only closes (the tag was part of the prompt) is reasoning up to that tag.
    """
    for stop in (END_OF_TURN, "<|endoftext|>"):
        text = text.split(stop, 1)[0]
    if THINK_CLOSE in text:
        head, answer = text.rsplit(THINK_CLOSE, 1)
        return Completion(head.replace(THINK_OPEN, "", 1).strip(), answer.strip(), True)
    if THINK_OPEN in text:
        return Completion(text.split(THINK_OPEN, 1)[1].strip(), "", False)
    return Completion("", text.strip(), True)


def join_reasoning(reasoning: str, answer: str) -> str:
    """Write reasoning and answer as the completion a System 2 student learns."""
    return f"{THINK_OPEN}\n{reasoning.strip()}\n{THINK_CLOSE}\n{answer.strip()}"


Metric = Literal["rv", "cd", "correct"]
METRICS: tuple[Metric, ...] = ("rv", "cd", "correct")
HIGHEST_SCORE: dict[Metric, int] = {"rv": 9, "cd": 9, "correct": 1}

JUDGE_SYSTEM_PROMPT = "You are a strict and fair judge of worked solutions. You never solve the problem anew."

# The scales of EasyDistill's own judges, so that levels from here and from OmniThought mean the same.
_RUBRICS: dict[Metric, str] = {
    "rv": (
        "Judge the Reasoning Verbosity of the solution below: how long and how detailed its reasoning is, "
        "measured by what the problem needs.\n"
        "0-1: next to no reasoning, the bare steps.\n"
        "2-3: clear and concise, with the explanations that are needed.\n"
        "4-5: moderate, each step explained in detail.\n"
        "6-7: extensive, everything justified, connections explored.\n"
        "8-9: exhaustive, justifications within justifications, alternatives and objections weighed."
    ),
    "cd": (
        "Judge the Cognitive Difficulty of the solution below: how able a reader must be to follow its "
        "reasoning and to do the same.\n"
        "0-1: elementary facts, or one trivial operation.\n"
        "2-3: arithmetic in several steps, listing cases, chaining simple rules.\n"
        "4-5: logic or algebra of the first university years, one insight that is not obvious.\n"
        "6-7: techniques of an advanced undergraduate, such as determinants or dynamic programming.\n"
        "8-9: abstraction of a graduate, nested proofs, intricate algorithms."
    ),
    "correct": (
        "Judge the logical correctness of the solution below.\n"
        "1: every step follows, every condition of the problem is met, nothing contradicts itself, and the "
        "reasoning does lead to the answer.\n"
        "0: anything else."
    ),
}


def judge_prompt(metric: Metric, problem: str, solution: str) -> str:
    """What a judge is asked about one chain; its reply is to end with `<score>N</score>`.

    Args:
        metric: `rv` and `cd` are scored from 0 to 9, `correct` as 0 or 1.
        problem: What was asked.
        solution: The reasoning and the answer.
    """
    return (
        f"{_RUBRICS[metric]}\n\n"
        f"End your reply with one whole number from 0 to {HIGHEST_SCORE[metric]} in these tags: "
        "<score></score>\n\n"
        f"Problem:\n{problem}\n\nSolution:\n{solution}"
    )
