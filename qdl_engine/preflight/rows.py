"""The rows of a training: how long each is in tokens, which are kept, and the passes that they form.

The student's own tokenizer counts the tokens where it is on this machine; where it is not, or the data is not
prepared yet, they are estimated, and every figure says so.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import format_completion, format_prompt
from qdl_engine.core.systems import System
from qdl_engine.data.preview import RenderedRow
from qdl_engine.data.sources import read_file
from qdl_engine.models.checkpoint import student_reference
from qdl_engine.models.shape import cached_file
from qdl_engine.preflight.memory import Pass
from qdl_engine.settings import LabSettings, RecipeSettings
from qdl_engine.trainer.selection import RowCounts, held_out_places, training_order, usable_rows

Origin = Literal["counted", "by characters", "guessed"]

TOKENIZER = "tokenizer.json"
CHARACTERS_PER_TOKEN = 3.6
"""Of Qwen2.5's tokenizer on English with some mathematics; fewer on code and other scripts."""
TYPICAL: dict[System, tuple[int, int]] = {"system1": (90, 460), "system2": (130, 1900)}
"""Mean tokens of prompt and answer in the default sources: the guess for data that is not prepared."""
_SPREAD = 0.7
"""Standard deviation of the logarithm of a length."""
_CHUNK = 1000
_FORMAT = 1


@dataclass
class RowLengths:
    """Tokens of each row in the file, before any is dropped."""

    origin: Origin
    ids: list[str] = field(default_factory=list)
    prompts: array[int] = field(default_factory=lambda: array("i"))
    answers: array[int] = field(default_factory=lambda: array("i"))
    broken: int = 0
    note: str = ""

    def total(self, place: int) -> int:
        """Tokens of the row at `place`, prompt included."""
        return self.prompts[place] + self.answers[place]


def row_lengths(lab: Lab, settings: LabSettings, system: System) -> RowLengths:
    """The lengths of the rows that training would read now."""
    recipe = settings.recipe(system)
    data = lab.training_data(system)
    unlabelled = system == "system1" and settings.system1.label and not data.is_file()
    if unlabelled and lab.train_instructions.is_file():
        data = lab.train_instructions
    if not data.is_file():
        return _guessed(system, recipe)
    tokenizer = _tokenizer(lab, recipe.student)
    if tokenizer is None:
        return _by_characters(lab, data, system, recipe.system_prompt)
    lengths = _counted(lab, data, tokenizer, system, recipe.system_prompt, answered=not unlabelled)
    if unlabelled:
        _, answer = TYPICAL["system1"]
        longest = min(settings.teacher.max_new_tokens, recipe.max_length)
        answers = _spread(len(lengths.ids), min(answer, longest // 2), longest, recipe.seed)
        # A guess must not drop rows.
        room = (max(1, recipe.max_length - prompt) for prompt in lengths.prompts)
        lengths.answers = array("i", map(min, answers, room))
        lengths.note = "The teacher has not answered yet: the lengths of the answers are a guess."
        lengths.origin = "guessed"
    return lengths


def _tokenizer(lab: Lab, student: str) -> Path | None:
    return cached_file(student_reference(lab, student), TOKENIZER)


def _counter(tokenizer: Path) -> Callable[[Sequence[str]], list[int]]:
    """Counts the tokens of texts as training does: without special tokens beside those in the text."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    return lambda texts: [len(one) for one in loaded.encode_batch(list(texts), add_special_tokens=False)]


def _counted(
    lab: Lab, data: Path, tokenizer: Path, system: System, system_prompt: str, *, answered: bool
) -> RowLengths:
    """Counted by the student's tokenizer; once, until data, tokenizer or system prompt change."""
    key = _key(data, tokenizer, system_prompt)
    store = lab.token_counts_file(system)
    stored = _stored(store, key)
    if stored is not None:
        return stored
    count = _counter(tokenizer)
    lengths, counts = RowLengths("counted"), RowCounts()
    rows = usable_rows(read_file(data), counts) if answered else _unanswered(data, counts)
    while chunk := list(islice(rows, _CHUNK)):
        lengths.ids += [identity for identity, _, _ in chunk]
        lengths.prompts.extend(
            count([format_prompt(text, system, system_prompt=system_prompt) for _, text, _ in chunk])
        )
        lengths.answers.extend(count([format_completion(text) for _, _, text in chunk]))
    lengths.broken = counts.broken
    plain = {
        "ids": lengths.ids,
        "prompts": lengths.prompts.tolist(),
        "answers": lengths.answers.tolist(),
        "broken": lengths.broken,
    }
    with suppress(OSError):
        # A lab that is read-only costs a second count, nothing more.
        write_json_atomic(store, {"format": _FORMAT, "key": key, **plain})
    return lengths


def _unanswered(data: Path, counts: RowCounts) -> Iterator[tuple[str, str, str]]:
    """Id and instruction of each row that the teacher is going to answer."""
    for row in read_file(data):
        value: Any = row.value
        if isinstance(value, dict) and isinstance(value.get("instruction"), str):
            yield str(value.get("id", "")), value["instruction"], ""
        else:
            counts.broken += 1


def _key(data: Path, tokenizer: Path, system_prompt: str) -> str:
    parts = [system_prompt]
    for path in (data, tokenizer):
        status = path.stat()
        parts.append(f"{path} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _stored(store: Path, key: str) -> RowLengths | None:
    try:
        value = read_json(store)
        if value["format"] != _FORMAT or value["key"] != key:
            return None
        prompts, answers = array("i", value["prompts"]), array("i", value["answers"])
        return RowLengths("counted", value["ids"], prompts, answers, value["broken"])
    except (LabError, OSError, KeyError, TypeError, ValueError):
        return None


def _by_characters(lab: Lab, data: Path, system: System, system_prompt: str) -> RowLengths:
    """Estimated from characters, and scaled to the sum that preparing counted, where there is one."""
    counts = RowCounts()
    lengths = RowLengths("by characters")
    frame = len(format_prompt("", system, system_prompt=system_prompt)) / CHARACTERS_PER_TOKEN
    for identity, instruction, output in usable_rows(read_file(data), counts):
        lengths.ids.append(identity)
        lengths.prompts.append(round(frame + len(instruction) / CHARACTERS_PER_TOKEN))
        lengths.answers.append(round(1 + len(output) / CHARACTERS_PER_TOKEN))
    lengths.broken = counts.broken
    scale = _reported_tokens(lab, system) / max(1, sum(lengths.prompts) + sum(lengths.answers))
    if scale:
        lengths.prompts = array("i", (round(length * scale) for length in lengths.prompts))
        lengths.answers = array("i", (max(1, round(length * scale)) for length in lengths.answers))
    lengths.note = "The student's tokenizer is not on this machine: tokens are estimated from characters."
    return lengths


def _reported_tokens(lab: Lab, system: System) -> float:
    """Tokens in all, as preparing counted them; 0 without a report."""
    try:
        return float(read_json(lab.report_file(system))["tokens"]["total"])
    except (LabError, OSError, KeyError, TypeError, ValueError):
        return 0.0


def _guessed(system: System, recipe: RecipeSettings) -> RowLengths:
    """Lengths like those of the default sources, for data that is not prepared."""
    prompt, answer = TYPICAL[system]
    prompt = min(prompt, recipe.max_length // 4)
    mean = min(answer, recipe.max_length // 2)
    return RowLengths(
        "guessed",
        [str(number) for number in range(recipe.rows)],
        array("i", [prompt] * recipe.rows),
        _spread(recipe.rows, mean, recipe.max_length - prompt, recipe.seed),
        note="The data is not prepared: the lengths are a guess from the default sources.",
    )


def _spread(count: int, mean: int, longest: int, seed: int) -> array[int]:
    """`count` lengths around a mean, log-normal as answers are, none over `longest`."""
    middle = NormalDist(math.log(max(1, mean)) - _SPREAD**2 / 2, _SPREAD)
    places = ((number + 0.5) / count for number in range(count))
    values = [max(1, min(longest, round(math.exp(middle.inv_cdf(place))))) for place in places]
    random.Random(seed).shuffle(values)
    return array("i", values)


@dataclass(frozen=True)
class Rows:
    """The rows that training keeps, by their places in `lengths`."""

    lengths: RowLengths
    kept: list[int]
    """Those that are trained."""
    too_long: list[int]
    held_out: int

    def within(self, max_length: int) -> Rows:
        """Without the trained rows that a shorter `max_length` would drop."""
        return replace(self, kept=[at for at in self.kept if self.lengths.total(at) <= max_length])

    def passes(self, recipe: RecipeSettings, devices: int = 1) -> list[Pass]:
        """The passes of the first epoch, formed as the trainer forms them, from another shuffle."""
        chance = random.Random(recipe.seed)
        size = recipe.batch_size
        order = training_order(
            [self.lengths.total(place) for place in self.kept],
            size * recipe.gradient_accumulation * devices,
            lambda count: chance.sample(range(count), count),
            group_by_length=recipe.group_by_length,
            longest_first=True,
        )
        return [self._pass(order[at : at + size]) for at in range(0, len(order), size)]

    def _pass(self, rows: list[int]) -> Pass:
        places = [self.kept[row] for row in rows]
        longest = max(self.lengths.total(place) for place in places)
        return Pass(len(places), longest, sum(self.lengths.answers[place] for place in places))


def load_rows(lab: Lab, settings: LabSettings, system: System) -> Rows:
    """The rows that training would take now."""
    recipe = settings.recipe(system)
    lengths = row_lengths(lab, settings, system)
    fits: list[int] = []
    too_long: list[int] = []
    for place in range(len(lengths.ids)):
        (fits if lengths.total(place) <= recipe.max_length else too_long).append(place)
    held = held_out_places([lengths.ids[place] for place in fits], recipe.held_out, recipe.seed)
    kept = [place for number, place in enumerate(fits) if number not in held]
    return Rows(lengths, kept, too_long, len(held))


@dataclass(frozen=True)
class RowFigures:
    """What will be trained on, in sums."""

    origin: Origin
    read: int
    trained_rows: int
    held_out_rows: int
    broken_rows: int
    too_long_rows: int
    trained_tokens: int
    """Answer tokens in one epoch: those with a loss."""
    masked_tokens: int
    """Prompt tokens in one epoch: read, and not trained."""
    dropped_tokens: int
    """Tokens of rows over max_length."""
    longest: int
    median: int
    padding: float
    """Share of the padded batches that is padding."""
    passes: int
    """Forward and backward passes in one epoch, on each device."""
    steps: int
    """Optimizer steps of the whole training."""
    steps_per_epoch: int
    epochs: float
    """Passes over the data, after max_steps."""
    note: str = ""

    @property
    def tokens(self) -> int:
        """Real tokens in one epoch, prompts included."""
        return self.trained_tokens + self.masked_tokens


def row_figures(rows: Rows, recipe: RecipeSettings, devices: int = 1) -> RowFigures:
    """Sums over the rows and over the passes that they form."""
    lengths = rows.lengths
    passes = rows.passes(recipe, devices)
    totals = sorted(lengths.total(place) for place in rows.kept)
    trained = sum(lengths.answers[place] for place in rows.kept)
    masked = sum(lengths.prompts[place] for place in rows.kept)
    padded = sum(batch.tokens for batch in passes)
    per_device = math.ceil(len(passes) / devices)
    per_epoch = max(1, math.ceil(per_device / recipe.gradient_accumulation))
    steps = recipe.max_steps or math.ceil(per_epoch * recipe.epochs)
    return RowFigures(
        origin=lengths.origin,
        read=len(lengths.ids) + lengths.broken,
        trained_rows=len(rows.kept),
        held_out_rows=rows.held_out,
        broken_rows=lengths.broken,
        too_long_rows=len(rows.too_long),
        trained_tokens=trained,
        masked_tokens=masked,
        dropped_tokens=sum(map(lengths.total, rows.too_long)),
        longest=totals[-1] if totals else 0,
        median=totals[(len(totals) - 1) // 2] if totals else 0,
        padding=1 - (trained + masked) / padded if padded else 0.0,
        passes=per_device,
        steps=steps,
        steps_per_epoch=per_epoch,
        epochs=steps / per_epoch,
        note=lengths.note,
    )


@dataclass(frozen=True)
class RowTokens:
    """How long one row is, for a person who looks at it.

    Attributes:
        prompt: Tokens that the student reads, the marks of the turns included.
        trained: Tokens that the loss counts, the end token included; 0 without an answer.
        origin: Whether the student's tokenizer counted them.
    """

    prompt: int
    trained: int
    origin: Literal["counted", "by characters"]

    @property
    def total(self) -> int:
        """Tokens of the row, prompt included."""
        return self.prompt + self.trained

    def text(self, max_length: int) -> str:
        """`31 prompt + 12 trained = 43 of 160 tokens`."""
        about = "" if self.origin == "counted" else "about "
        trained = f" + {self.trained:,} trained = {self.total:,}" if self.trained else ", no answer yet,"
        return f"{about}{self.prompt:,} prompt{trained} of {max_length:,} tokens"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RowTokens:
        return cls(value["prompt"], value["trained"], value["origin"])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total": self.total}


def row_tokens(lab: Lab, student: str, rows: Sequence[RenderedRow]) -> list[RowTokens]:
    """The tokens of each row, counted as training counts them, or estimated from characters."""
    tokenizer = _tokenizer(lab, student)
    count = _estimate if tokenizer is None else _counter(tokenizer)
    origin: Literal["counted", "by characters"] = "by characters" if tokenizer is None else "counted"
    prompts, trained = count([row.prompt for row in rows]), count([row.trained for row in rows])
    return [RowTokens(one, other, origin) for one, other in zip(prompts, trained, strict=True)]


def _estimate(texts: Sequence[str]) -> list[int]:
    return [round(len(text) / CHARACTERS_PER_TOKEN) for text in texts]
