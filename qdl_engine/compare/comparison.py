"""A comparison as data: answers and figures by model, saved and read again. Free of the model libraries.

The file of a comparison: written while it grows, and found again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import DataError, LabError, SettingsError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import split_completion


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
    """`eos`, `length`, `cancelled`, or `failed`."""
    reason: str = ""
    """What is wrong with it: `empty`, `cut`, `repeated`, or why it failed; empty when it is sound."""

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

    @classmethod
    def failure(cls, why: str) -> Answer:
        """What stands in the place of an answer that could not be given."""
        return cls("", "", 0, 0.0, 0.0, 0.0, "failed", why)

    @property
    def failed(self) -> bool:
        return self.stopped == "failed"

    @property
    def shown(self) -> str:
        """The answer, or in brackets why there is none."""
        if self.answer:
            return self.answer
        if self.failed or self.stopped == "cancelled":
            return f"(no answer: {self.reason or self.stopped})"
        if self.reasoning:
            return f"(no answer: {'cut' if self.stopped == 'length' else 'it ended'} within its reasoning)"
        return "(an empty answer)"


@dataclass
class ComparedModel:
    """One column of a comparison."""

    path: str
    mode: str
    parameters: int
    """Number of weights; 0 where that is not known: at a server, in a file."""
    load_seconds: float
    answers: list[Answer] = field(default_factory=list)
    """One for each prompt, in the prompts' order; fewer while it is still being asked, or was stopped."""
    written: str = ""
    """When its weights were written (ISO 8601), to tell a student from the one before it; empty on a hub."""

    @property
    def size(self) -> str:
        """Its parameters for a person."""
        return f"{self.parameters:,}" if self.parameters else "unknown"

    @property
    def given(self) -> list[Answer]:
        """The answers without those that failed: what the figures are made of."""
        return [answer for answer in self.answers if not answer.failed]

    @property
    def tokens_per_second(self) -> float:
        seconds = sum(answer.seconds for answer in self.given)
        return sum(answer.tokens for answer in self.given) / seconds if seconds else 0.0

    @property
    def speed(self) -> str:
        """Tokens per second for a person; `-` where nothing was generated, as by a file of answers."""
        return f"{self.tokens_per_second:,.1f}" if any(answer.tokens for answer in self.given) else "-"

    @property
    def mean_tokens(self) -> float:
        return sum(answer.tokens for answer in self.given) / max(1, len(self.given))

    @property
    def mean_seconds(self) -> float:
        return sum(answer.seconds for answer in self.given) / max(1, len(self.given))


@dataclass
class Comparison:
    """What each model said to each prompt."""

    prompts: list[str]
    models: dict[str, ComparedModel] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Models that could not answer, and why."""
    created: str = ""

    def answers_to(self, index: int) -> dict[str, Answer]:
        """The answers to the prompt at `index`, of the models that got as far."""
        return {
            name: model.answers[index] for name, model in self.models.items() if index < len(model.answers)
        }

    @property
    def answered(self) -> bool:
        """Whether anything was answered at all."""
        return any(model.given for model in self.models.values())

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
            f"{name:<10}{model.size:>14}{model.mean_tokens:>9.1f}{model.mean_seconds:>9.2f}{model.speed:>10}"
            for name, model in self.models.items()
        ]
        for name, model in self.models.items():
            missing = len(self.prompts) - len(model.given)
            if missing:
                lines.append(f"{name:<10}{missing} of {len(self.prompts)} prompts without an answer")
        lines += [
            f"{name:<10}skipped: {(reason.splitlines() or ['no reason given'])[0]}"
            for name, reason in self.skipped.items()
        ]
        return "\n".join(lines)


def read_prompts(path: Path) -> list[str]:
    """Prompts from a text file, one on each line; blank lines and lines that start with `#` are left out.

    Raises:
        DataError: when the file cannot be read or holds no prompt.
    """
    prompts = _prompts_in(path)
    if not prompts:
        raise DataError(f"No prompts in {path}", "Write one prompt on each line.")
    return prompts


def append_prompt(path: Path, prompt: str) -> None:
    """Add one prompt at the end of a file of prompts; one that stands there already is not added again.

    Raises:
        SettingsError: when the prompt asks nothing, or would not be read back as it is.
    """
    line = " ".join(prompt.split())
    if not line or line.startswith("#"):
        raise SettingsError(f"Not a prompt: {prompt!r}", "Write some text that does not begin with #.")
    if path.exists() and path.stat().st_size and line in _prompts_in(path):
        return
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    gap = "" if not before or before.endswith("\n") else "\n"
    write_text_atomic(path, f"{before}{gap}{line}\n")


def _prompts_in(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the prompts in {path}: {error}", "One prompt on each line.") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def weights_written(path: str) -> str:
    """When the model in a directory was written, as ISO 8601; empty for what is no directory here."""
    try:
        stamp = (Path(path) / "config.json").stat().st_mtime
    except (OSError, ValueError):
        return ""
    return datetime.fromtimestamp(stamp).astimezone().isoformat(timespec="seconds")


def now() -> str:
    """The time at which a comparison or a vote is made, as ISO 8601 with its offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def new_comparison_path(lab: Lab) -> Path:
    """Where the next comparison of a lab goes: a name that sorts by time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = lab.comparisons / f"{stamp}.json"
    number = 1
    while path.exists():
        number += 1
        path = lab.comparisons / f"{stamp}-{number}.json"
    return path


def save_comparison(lab: Lab, comparison: Comparison) -> Path:
    """Write a comparison into its lab, under a name that sorts by time."""
    path = new_comparison_path(lab)
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
        raise LabError(f"Not a comparison: {path}", "Choose another, or compare again.") from broken


class UnsavedComparisonError(LabError):
    """A comparison that could not be written; `comparison` still holds every answer."""

    def __init__(self, path: Path, comparison: Comparison, cause: OSError) -> None:
        super().__init__(
            f"The comparison could not be saved to {path}: {cause.strerror or cause}",
            "The answers are not lost while they are shown. Free some space, or choose another place.",
        )
        self.comparison = comparison


class ComparisonKeeper:
    """Writes a comparison while it grows, at most once in a while: what a killed process loses is seconds.

    Args:
        path: The file, or None to keep nothing.
        every: Seconds between two writes; the file is written whole each time.
    """

    def __init__(self, path: Path | None, every: float = 2.0) -> None:
        self.path = path
        self.every = every
        self.problem: OSError | None = None
        """Why the last write failed."""
        self._written = 0.0

    def keep(self, comparison: Comparison, *, now: bool = False) -> None:
        """Write it when it is time; a failure is remembered, for the next write may succeed."""
        if self.path is None or not comparison.answered:
            return
        if not now and self._written and time.monotonic() - self._written < self.every:
            return
        self._written = time.monotonic()
        try:
            write_json_atomic(self.path, comparison.to_dict())
        except OSError as cause:
            self.problem = cause
        else:
            self.problem = None

    def finish(self, comparison: Comparison) -> None:
        """The last write.

        Raises:
            UnsavedComparisonError: when it failed.
        """
        self.keep(comparison, now=True)
        if self.path is not None and self.problem is not None:
            raise UnsavedComparisonError(self.path, comparison, self.problem) from self.problem


def find_comparison(lab: Lab, word: str) -> Path:
    """A saved comparison by its name, the beginning of its name, a path, or `latest`.

    Raises:
        LabError: when there is none, or more than one.
    """
    saved = list_comparisons(lab)
    if word == "latest" and saved:
        return saved[0]
    if Path(word).suffix == ".json" and Path(word).is_file():
        return Path(word)
    found = [path for path in saved if path.stem == word] or [
        path for path in saved if word and path.stem.startswith(word)
    ]
    if len(found) == 1:
        return found[0]
    if not saved:
        raise LabError(f"No saved comparison in {lab.root}", f"Make one: qdl --lab {lab.word} compare")
    names = ", ".join(path.stem for path in (found or saved)[:8])
    what = (
        f"{len(found)} comparisons begin with {word!r}" if found else f"No comparison {word!r} in {lab.root}"
    )
    raise LabError(
        what, f"{'They are' if found else 'There are'}: {names}. See: qdl --lab {lab.word} comparisons"
    )
