"""A comparison: answers and figures by model, the file it grows in, and the prompts it asks.

Free of the model libraries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from qdl_engine.core.errors import DataError, LabError, SettingsError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import split_completion

ModelName = Literal["teacher", "system1", "system2"]
MODELS: Final[tuple[ModelName, ...]] = ("teacher", "system1", "system2")
"""The models of a comparison, in the order they are asked and shown."""


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
    """What is wrong with it: `empty`, `cut`, `repeated`, or why it failed; empty for a sound answer."""

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
        """Make an answer from a completion: split off the reasoning, work out the speed."""
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
        """What takes the place of an answer that a model failed to give."""
        return cls("", "", 0, 0.0, 0.0, 0.0, "failed", why)

    @property
    def failed(self) -> bool:
        """Whether the model gave no answer."""
        return self.stopped == "failed"

    @property
    def shown(self) -> str:
        """The answer, or in brackets why there is none."""
        if self.answer:
            return self.answer
        if self.failed or self.stopped == "cancelled":
            return f"(no answer: {self.reason or self.stopped})"
        if self.reasoning:
            return f"(no answer: {'cut' if self.stopped == 'length' else 'ended'} during its reasoning)"
        return "(empty answer)"


@dataclass
class ComparedModel:
    """One column of a comparison."""

    path: str
    mode: str
    parameters: int
    """Number of weights; 0 where that is unknown: at a server, in a file."""
    load_seconds: float
    answers: list[Answer] = field(default_factory=list)
    """One for each prompt, in the prompts' order; fewer while the model answers, or when it was stopped."""
    written: str = ""
    """When its weights were written (ISO 8601): tells a student from its predecessor. Empty on a hub."""

    @property
    def size(self) -> str:
        """The number of parameters, as text."""
        return f"{self.parameters:,}" if self.parameters else "unknown"

    @property
    def given(self) -> list[Answer]:
        """The answers that did not fail: what the figures count."""
        return [answer for answer in self.answers if not answer.failed]

    @property
    def tokens_per_second(self) -> float:
        """Over all its answers; 0 without any."""
        seconds = sum(answer.seconds for answer in self.given)
        return sum(answer.tokens for answer in self.given) / seconds if seconds else 0.0

    @property
    def speed(self) -> str:
        """Tokens per second as text; `-` where nothing was generated: a file of answers."""
        return f"{self.tokens_per_second:,.1f}" if any(answer.tokens for answer in self.given) else "-"

    @property
    def mean_tokens(self) -> float:
        """Tokens of an answer, on average."""
        return sum(answer.tokens for answer in self.given) / max(1, len(self.given))

    @property
    def mean_seconds(self) -> float:
        """Seconds of an answer, on average, loading not counted."""
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
        """The answers to the prompt at `index`, from the models that have reached it."""
        return {
            name: model.answers[index] for name, model in self.models.items() if index < len(model.answers)
        }

    def votable(self, index: int, names: Iterable[str]) -> list[str]:
        """The models among `names` whose answer to the prompt at `index` can be voted on."""
        answers = self.answers_to(index)
        return [name for name in names if name in answers and not answers[name].failed]

    @property
    def answered(self) -> bool:
        """Whether it has any answer."""
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
        """The figures without the answers, which may hold anything a model wrote."""
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


def weights_written(path: str) -> str:
    """When the model in a directory was written, as ISO 8601; empty for anything but a local directory."""
    try:
        stamp = (Path(path) / "config.json").stat().st_mtime
    except (OSError, ValueError):
        return ""
    return datetime.fromtimestamp(stamp).astimezone().isoformat(timespec="seconds")


def now() -> str:
    """The time of a comparison or a vote, as ISO 8601 with its offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


class UnsavedComparisonError(LabError):
    """A comparison that could not be written; `comparison` still holds every answer."""

    def __init__(self, path: Path, comparison: Comparison, cause: OSError) -> None:
        super().__init__(
            f"The comparison could not be saved to {path}: {cause.strerror or cause}",
            "The answers stay on the screen. Free some space, or choose another place.",
        )
        self.comparison = comparison


@dataclass(frozen=True)
class Snapshot:
    """A comparison at one moment, for a thread to write while the comparison grows."""

    number: int
    """Later snapshots have higher numbers."""
    comparison: Comparison
    state: dict[str, Any]


class ComparisonFile:
    """The file of a comparison that grows; each write replaces it whole.

    Args:
        choose_path: Names the file at the first write: a comparison without answers takes no name.
        every: Seconds between two writes of `keep`: a killed process loses no more.
    """

    def __init__(self, choose_path: Callable[[], Path], every: float = 2.0) -> None:
        self._choose_path = choose_path
        self._every = every
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._taken = 0
        self._newest = 0
        self._kept_at = 0.0
        self._problem: UnsavedComparisonError | None = None

    def snapshot(self, comparison: Comparison) -> Snapshot:
        """What is to be written, taken by the thread that changes the comparison."""
        self._taken += 1
        return Snapshot(self._taken, comparison, comparison.to_dict())

    def write(self, snapshot: Snapshot) -> Path:
        """Write a snapshot, in any thread; one that a later snapshot has overtaken is dropped.

        Raises:
            UnsavedComparisonError: when it cannot be written.
        """
        with self._lock:
            path = self._path or self._choose_path()
            if snapshot.number > self._newest:
                try:
                    write_json_atomic(path, snapshot.state)
                except OSError as cause:
                    raise UnsavedComparisonError(path, snapshot.comparison, cause) from cause
                self._newest, self._path = snapshot.number, path
            return path

    def keep(self, comparison: Comparison, *, at_once: bool = False) -> None:
        """Write the comparison when it is time. A failure is only remembered: the next write may succeed."""
        if not comparison.answered:
            return
        if not at_once and self._kept_at and time.monotonic() - self._kept_at < self._every:
            return
        self._kept_at = time.monotonic()
        try:
            self.write(self.snapshot(comparison))
        except UnsavedComparisonError as problem:
            self._problem = problem
        else:
            self._problem = None

    def finish(self, comparison: Comparison) -> None:
        """Write the last state.

        Raises:
            UnsavedComparisonError: when that failed.
        """
        self.keep(comparison, at_once=True)
        if self._problem is not None:
            raise self._problem


def new_comparison_path(lab: Lab) -> Path:
    """The file of a lab's next comparison: names sort by time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = lab.comparisons / f"{stamp}.json"
    number = 1
    while path.exists():
        number += 1
        path = lab.comparisons / f"{stamp}-{number}.json"
    return path


def save_comparison(lab: Lab, comparison: Comparison) -> Path:
    """Write a whole comparison into its lab."""
    path = new_comparison_path(lab)
    write_json_atomic(path, comparison.to_dict())
    return path


def list_comparisons(lab: Lab) -> list[Path]:
    """The saved comparisons of a lab, newest first."""
    paths = lab.comparisons.glob("*.json")
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def load_comparison(path: Path) -> Comparison:
    """Read a saved comparison.

    Raises:
        LabError: when the file does not hold a comparison.
    """
    value = read_json(path)
    try:
        return Comparison.from_dict(value)
    except (KeyError, TypeError, AttributeError) as broken:
        raise LabError(f"Not a comparison: {path}", "Choose another, or compare again.") from broken


def find_comparison(lab: Lab, word: str) -> Path:
    """Find a saved comparison by its name, the beginning of its name, a path, or `latest`.

    Raises:
        LabError: when none or several match.
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


def read_prompts(path: Path) -> list[str]:
    """Read prompts from a text file, one a line; blank lines and lines that start with `#` are skipped.

    Raises:
        DataError: when the file cannot be read or holds no prompt.
    """
    prompts = _prompts_in(path)
    if not prompts:
        raise DataError(f"No prompts in {path}", "Write one prompt on each line.")
    return prompts


def append_prompt(path: Path, prompt: str) -> None:
    """Add one prompt at the end of a file of prompts, unless the file has it already.

    Raises:
        SettingsError: when the prompt is blank, or would be read back as a comment.
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
