"""Exact-match examination of a small model on the demo's tasks, batched and greedy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from qdl_engine.demo.world import END, Sample, Style, final_answer

LONGEST: Final[dict[Style, int]] = {"system1": 16, "system2": 120}
_BATCH: Final = 128


@dataclass(frozen=True)
class Marks:
    """Right answers and questions, per task."""

    right: dict[str, int]
    asked: dict[str, int]

    @property
    def accuracy(self) -> float:
        """The share of all answers that were right."""
        return sum(self.right.values()) / sum(self.asked.values())

    def as_dict(self) -> dict[str, Any]:
        """The figures as fractions, for the card."""
        tasks = {task: round(self.right[task] / asked, 4) for task, asked in self.asked.items()}
        return {"accuracy": round(self.accuracy, 4), "questions": sum(self.asked.values()), "tasks": tasks}


def examine(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, paper: Sequence[Sample], style: Style
) -> Marks:
    """Asks all questions of a paper in one style and marks the answers."""
    answers = complete(model, tokenizer, [sample.prompt(style) for sample in paper], LONGEST[style])
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    for sample, answer in zip(paper, answers, strict=True):
        asked[sample.task] = asked.get(sample.task, 0) + 1
        right[sample.task] = right.get(sample.task, 0) + int(final_answer(answer) == sample.answer)
    return Marks(right, asked)


@torch.inference_mode()
def complete(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], longest: int
) -> list[str]:
    """Greedy completions in the order of the prompts; prompts of like length share a batch."""
    model.eval()
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    texts = [""] * len(prompts)
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        inputs = tokenizer(
            [prompts[i] for i in chosen], return_tensors="pt", padding=True, padding_side="left"
        )
        outputs = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        new = outputs[:, inputs["input_ids"].shape[1] :]
        for index, text in zip(chosen, tokenizer.batch_decode(new), strict=True):
            texts[index] = text if END in text else ""
    return texts
