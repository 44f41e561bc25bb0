"""A comparison as data: answers and figures by model, saved and read again. Free of the model libraries."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from qdl_engine.errors import DataError, LabError
from qdl_engine.lab import Lab, read_json, write_json_atomic
from qdl_engine.prompts import split_completion


@dataclass(frozen=True)
class Answer:
    """One model's answer to one prompt, with what it cost."""

    reasoning: str
    answer: str
    tokens: int
    seconds: float
    tokens_per_second: float
    first_token_seconds: float
    stopped: str
    """`eos`, `length`, or `cancelled`."""
    reason: str = ""
    """What is wrong with it: `empty`, `cut`, `repeated`; empty when it is sound."""

    @classmethod
    def of(
        cls,
        text: str,
        tokens: int,
        seconds: float,
        first_token: float,
        stopped: str,
        reason: str = "",
    ) -> Answer:
        """An answer out of a completion: reasoning apart, speed worked out."""
        completion = split_completion(text)
        return cls(
            reasoning=completion.reasoning,
            answer=completion.answer,
            tokens=tokens,
            seconds=seconds,
            tokens_per_second=tokens / seconds if seconds > 0 else 0.0,
            first_token_seconds=first_token,
            stopped=stopped,
            reason=reason,
        )


@dataclass
class ComparedModel:
    """One column of a comparison."""

    path: str
    mode: str
    parameters: int
    load_seconds: float
    answers: list[Answer] = field(default_factory=list)
    """One for each prompt, in the prompts' order."""

    @property
    def tokens_per_second(self) -> float:
        seconds = sum(answer.seconds for answer in self.answers)
        return sum(answer.tokens for answer in self.answers) / seconds if seconds else 0.0

    @property
    def mean_tokens(self) -> float:
        return sum(answer.tokens for answer in self.answers) / len(self.answers) if self.answers else 0.0

    @property
    def mean_seconds(self) -> float:
        return sum(answer.seconds for answer in self.answers) / len(self.answers) if self.answers else 0.0


@dataclass
class Comparison:
    """What each model said to each prompt."""

    prompts: list[str]
    models: dict[str, ComparedModel] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Models that could not answer, and why."""
    created: str = ""

    def answers_to(self, index: int) -> dict[str, Answer]:
        """Every model's answer to the prompt at `index`."""
        return {name: model.answers[index] for name, model in self.models.items()}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Comparison:
        models = {
            name: ComparedModel(**(model | {"answers": [Answer(**answer) for answer in model["answers"]]}))
            for name, model in value["models"].items()
        }
        return cls(value["prompts"], models, value["skipped"], value["created"])

    def table(self) -> str:
        """The figures, without the answers: those hold whatever a model wrote."""
        lines = [f"{'model':<10}{'parameters':>14}{'tokens':>9}{'seconds':>9}{'tokens/s':>10}"]
        lines += [
            f"{name:<10}{model.parameters:>14,}{model.mean_tokens:>9.1f}{model.mean_seconds:>9.2f}"
            f"{model.tokens_per_second:>10,.1f}"
            for name, model in self.models.items()
        ]
        lines += [f"{name:<10}skipped: {reason.splitlines()[0]}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def read_prompts(path: Path) -> list[str]:
    """Prompts from a text file, one on each line; blank lines and lines that start with `#` are left out.

    Raises:
        DataError: when the file cannot be read or holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the prompts in {path}: {error}", "One prompt on each line.") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise DataError(f"No prompts in {path}", "Write one prompt on each line.")
    return prompts


def save_comparison(lab: Lab, comparison: Comparison) -> Path:
    """Write a comparison into its lab, under a name that sorts by time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = lab.comparisons / f"{stamp}.json"
    number = 1
    while path.exists():
        number += 1
        path = lab.comparisons / f"{stamp}-{number}.json"
    write_json_atomic(path, comparison.to_dict())
    return path


def list_comparisons(lab: Lab) -> list[Path]:
    """The saved comparisons of a lab, newest first."""
    paths = lab.comparisons.glob("*.json")
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def load_comparison(path: Path) -> Comparison:
    """A saved comparison.

    Raises:
        LabError: when the file is no comparison.
    """
    value = read_json(path)
    try:
        return Comparison.from_dict(value)
    except (KeyError, TypeError, AttributeError) as broken:
        raise LabError(f"Not a comparison: {path}", "Compare again: qdl compare") from broken
