"""Tokens of every prepared row: counted by the student's tokenizer, else estimated, and said so.

The rows of a training: which are kept, in which passes, and how many tokens that makes.

Tokens of single rows, for a person who looks at them.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
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
from qdl_engine.settings import LabSettings
from qdl_engine.trainer.selection import RowCounts, held_out_places, training_order, usable_rows

Origin = Literal["counted", "by characters", "guessed"]

TOKENIZER = "tokenizer.json"
_CHUNK = 1000
_FORMAT = 1
CHARACTERS_PER_TOKEN = 3.6
"""Of Qwen2.5's tokenizer on English with some mathematics; less on code and other scripts."""
TYPICAL: dict[System, tuple[int, int]] = {"system1": (90, 460), "system2": (130, 1900)}
"""Tokens of prompt and answer of the default sources' rows, on average: what is said of unprepared data."""
_SPREAD = 0.7
"""Of the logarithm of a length around its mean."""


@dataclass
class RowLengths:
    """Tokens of each row that the file holds, before any is dropped."""

    origin: Origin
    ids: list[str] = field(default_factory=list)
    prompts: array[int] = field(default_factory=lambda: array("i"))
    answers: array[int] = field(default_factory=lambda: array("i"))
    broken: int = 0
    note: str = ""


def row_lengths(lab: Lab, settings: LabSettings, system: System) -> RowLengths:
    """The rows that training would read now."""
    recipe = settings.recipe(system)
    data = lab.training_data(system)
    unlabelled = system == "system1" and settings.system1.label and not data.is_file()
    if unlabelled and lab.train_instructions.is_file():
        data = lab.train_instructions
    if not data.is_file():
        return _guessed(system, recipe.rows, recipe.max_length, recipe.seed)
    tokenizer = cached_file(student_reference(lab, recipe.student), TOKENIZER)
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
        lengths.note = "The teacher has not answered yet: the answers' lengths are a guess."
        lengths.origin = "guessed"
    return lengths


def _counted(
    lab: Lab, data: Path, tokenizer: Path, system: System, system_prompt: str, *, answered: bool
) -> RowLengths:
    """Counted by the student's own tokenizer; once, until data, tokenizer or system prompt change."""
    key = _key(data, tokenizer, system_prompt)
    store = lab.token_counts_file(system)
    stored = _stored(store, key)
    if stored is not None:
        return stored
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    lengths, counts = RowLengths("counted"), RowCounts()
    rows = _triples(data, counts, answered)
    while chunk := list(islice(rows, _CHUNK)):
        prompts = [format_prompt(text, system, system_prompt=system_prompt) for _, text, _ in chunk]
        answers = [format_completion(text) for _, _, text in chunk]
        lengths.ids += [identity for identity, _, _ in chunk]
        lengths.prompts.extend(map(len, loaded.encode_batch(prompts, add_special_tokens=False)))
        lengths.answers.extend(map(len, loaded.encode_batch(answers, add_special_tokens=False)))
    lengths.broken = counts.broken
    with suppress(OSError):
        # A lab that cannot be written costs a second count, nothing more.
        write_json_atomic(store, {"format": _FORMAT, "key": key, **_plain(lengths)})
    return lengths


def _triples(data: Path, counts: RowCounts, answered: bool) -> Iterator[tuple[str, str, str]]:
    if answered:
        yield from usable_rows(read_file(data), counts)
        return
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


def _plain(lengths: RowLengths) -> dict[str, Any]:
    return {
        "ids": lengths.ids,
        "prompts": lengths.prompts.tolist(),
        "answers": lengths.answers.tolist(),
        "broken": lengths.broken,
    }


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
    """Without the student's tokenizer: by characters, to the sum that preparing counted where it did."""
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
    """Tokens in all, as preparing counted them; 0 when there is no report."""
    try:
        return float(read_json(lab.report_file(system))["tokens"]["total"])
    except (LabError, OSError, KeyError, TypeError, ValueError):
        return 0.0


def _guessed(system: System, count: int, max_length: int, seed: int) -> RowLengths:
    """Lengths as the default sources have them, for data that is not prepared."""
    prompt, answer = TYPICAL[system]
    prompt = min(prompt, max_length // 4)
    return RowLengths(
        "guessed",
        [str(number) for number in range(count)],
        array("i", [prompt] * count),
        _spread(count, min(answer, max_length // 2), max_length - prompt, seed),
        note="The data is not prepared: lengths are a guess from the default sources.",
    )


def _spread(count: int, mean: int, longest: int, seed: int) -> array[int]:
    """So many lengths around a mean, log-normal as answers are, none over `longest`."""
    middle = NormalDist(math.log(max(1, mean)) - _SPREAD**2 / 2, _SPREAD)
    places = ((number + 0.5) / count for number in range(count))
    values = [max(1, min(longest, round(math.exp(middle.inv_cdf(place))))) for place in places]
    random.Random(seed).shuffle(values)
    return array("i", values)


@dataclass(frozen=True)
class RowFigures:
    """What will be trained on."""

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

    @property
    def padded_tokens(self) -> float:
        """Tokens in one epoch as the device sees them."""
        return self.tokens / max(1e-9, 1 - self.padding)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """The rows that are kept, ready to be put into passes."""

    lengths: RowLengths
    kept: list[int]
    """Places of the rows that are trained."""
    held_out: int
    too_long: int
    dropped_tokens: int
    seed: int
    grouped: bool

    def total(self, place: int) -> int:
        return self.lengths.prompts[place] + self.lengths.answers[place]

    def passes(self, batch_size: int, accumulation: int, devices: int) -> list[Pass]:
        """The passes of the first epoch, formed as the trainer forms them, from another shuffle."""
        totals = [self.total(place) for place in self.kept]
        chance = random.Random(self.seed)
        order = training_order(
            totals,
            batch_size * accumulation * devices,
            lambda count: chance.sample(range(count), count),
            group_by_length=self.grouped,
            longest_first=True,
        )
        return [self._pass(order[at : at + batch_size]) for at in range(0, len(order), batch_size)]

    def _pass(self, rows: list[int]) -> Pass:
        places = [self.kept[row] for row in rows]
        return Pass(
            len(places),
            max(self.total(place) for place in places),
            sum(self.lengths.answers[place] for place in places),
        )


def load_rows(lab: Lab, settings: LabSettings, system: System) -> Rows:
    """The rows that training would take now, with what would be dropped."""
    recipe = settings.recipe(system)
    lengths = row_lengths(lab, settings, system)
    fits = [
        place
        for place in range(len(lengths.ids))
        if lengths.prompts[place] + lengths.answers[place] <= recipe.max_length
    ]
    held = held_out_places([lengths.ids[place] for place in fits], recipe.held_out, recipe.seed)
    inside = set(fits)
    dropped = [place for place in range(len(lengths.ids)) if place not in inside]
    return Rows(
        lengths=lengths,
        kept=[place for number, place in enumerate(fits) if number not in held],
        held_out=len(held),
        too_long=len(dropped),
        dropped_tokens=sum(lengths.prompts[place] + lengths.answers[place] for place in dropped),
        seed=recipe.seed,
        grouped=recipe.group_by_length,
    )


def row_figures(rows: Rows, settings: LabSettings, system: System, devices: int = 1) -> RowFigures:
    """Sums over the rows and the passes they are put into."""
    recipe, lengths = settings.recipe(system), rows.lengths
    passes = rows.passes(recipe.batch_size, recipe.gradient_accumulation, devices)
    totals = sorted(rows.total(place) for place in rows.kept)
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
        too_long_rows=rows.too_long,
        trained_tokens=trained,
        masked_tokens=masked,
        dropped_tokens=rows.dropped_tokens,
        longest=totals[-1] if totals else 0,
        median=totals[(len(totals) - 1) // 2] if totals else 0,
        padding=1 - (trained + masked) / padded if padded else 0.0,
        passes=per_device,
        steps=steps,
        steps_per_epoch=per_epoch,
        epochs=steps / per_epoch,
        note=lengths.note,
    )


def fullest(passes: Iterable[Pass]) -> list[Pass]:
    """The passes that can need the most memory: the largest, and the one with the most answer tokens."""
    listed = list(passes)
    if not listed:
        return []
    return [max(listed, key=lambda batch: batch.tokens), max(listed, key=lambda batch: batch.trained)]


@dataclass(frozen=True)
class RowTokens:
    """How long one row is.

    Attributes:
        prompt: Tokens that the student reads, those of the turns included.
        trained: Tokens that the loss is taken of, the end token included; 0 while there is no answer.
        origin: Counted by the student's own tokenizer, or estimated where it is not on this machine.
    """

    prompt: int
    trained: int
    origin: Literal["counted", "by characters"]

    @property
    def total(self) -> int:
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
        return {"prompt": self.prompt, "trained": self.trained, "total": self.total, "origin": self.origin}


def row_tokens(lab: Lab, student: str, rows: Sequence[RenderedRow]) -> list[RowTokens]:
    """The tokens of each row, by the student's tokenizer as training counts them."""
    tokenizer = cached_file(student_reference(lab, student), TOKENIZER)
    if tokenizer is None:
        return [
            RowTokens(_row_by_characters(row.prompt), _row_by_characters(row.trained), "by characters")
            for row in rows
        ]
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    prompts = loaded.encode_batch([row.prompt for row in rows], add_special_tokens=False)
    trained = loaded.encode_batch([row.trained for row in rows], add_special_tokens=False)
    return [RowTokens(len(one), len(other), "counted") for one, other in zip(prompts, trained, strict=True)]


def _row_by_characters(text: str) -> int:
    return round(len(text) / CHARACTERS_PER_TOKEN)
