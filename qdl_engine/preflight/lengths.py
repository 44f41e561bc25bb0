"""Tokens of every prepared row: counted by the student's tokenizer, else estimated, and said so."""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from qdl_engine.data.sources import read_file
from qdl_engine.easydistill.config import student_reference
from qdl_engine.errors import LabError
from qdl_engine.lab import Lab, read_json, write_json_atomic
from qdl_engine.preflight.shape import cached_file
from qdl_engine.prompts import format_completion, format_prompt
from qdl_engine.settings import LabSettings, System
from qdl_engine.trainer.usable import RowCounts, usable_rows

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
