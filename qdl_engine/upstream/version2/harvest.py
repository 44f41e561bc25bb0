"""What EasyDistill 2.x made of one shard, checked and brought into the shapes that a recipe's source takes.

`instruct_distill` gives chat `messages`; the chain-of-thought jobs give OmniThought rows, with levels where
they were scored; `dpo_data_build` gives prompt, chosen and rejected.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.core.words import is_unicode
from qdl_engine.data.json_rows import read_json_lines
from qdl_engine.data.schemas import tagged_sections
from qdl_engine.upstream.version2.configs import ShardFiles, Wish

Row = dict[str, Any]


@dataclass
class Harvest:
    """The rows of one shard, and what is missing in them."""

    asked: set[int]
    """Places of its rows."""
    answered: int = 0
    """Rows that the server gave any answer to."""
    rows: list[Row] = field(default_factory=list)
    """In the order of the input."""
    counts: Counter[str] = field(default_factory=Counter)
    """`unscored`, `without reasoning`, `no pair`: what a person should know."""
    lost: list[int] = field(default_factory=list)
    """Places of the rows without any answer."""

    @property
    def requested(self) -> int:
        return len(self.asked)


def harvest(wish: Wish, files: ShardFiles) -> Harvest:
    """Read what a shard wrote. A file that is not there holds nothing: the exit code proves nothing."""
    asked = list(_rows(files.input))
    result = Harvest({int(row["id"]) for row in asked})
    if wish.job == "instruct_distill":
        _messages(result, files)
    elif wish.job == "cot_distill":
        _chains(result, _generated(files))
    elif wish.job == "advanced_cot_distill":
        _chains(result, _scored(files, asked))
    else:
        _pairs(result, files, wish.system_prompt)
    result.rows.sort(key=lambda row: int(row["id"]))
    # A pair may be missing although both its answers are there: asking again would not help.
    found = _candidates(files) if wish.job == "dpo_data_build" else result.rows
    there = {str(row.get("id")) for row in found}
    result.lost = [int(row["id"]) for row in asked if row["id"] not in there]
    return result


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file. One with half a surrogate pair cannot be written on: it counts as not answered."""
    if path.is_file():
        for row in read_json_lines(path):
            if isinstance(row.value, dict) and is_unicode(dump_row(row.value)):
                yield row.value


def _messages(result: Harvest, files: ShardFiles) -> None:
    for row in _rows(files.output):
        turns, metadata = row.get("messages"), row.get("metadata")
        if isinstance(turns, list) and isinstance(metadata, dict):
            result.rows.append({"id": str(metadata["request_id"]), "messages": turns})
    result.answered = len(result.rows)


def _generated(files: ShardFiles) -> Iterator[tuple[str, str, Row]]:
    """Id, problem and response of `cot_distill`, whose user turn is the whole prompt."""
    ids = [str(row["id"]) for row in _rows(files.input)]
    for row in _rows(files.output):
        metadata, turns = row["metadata"], row["messages"]
        # "cot_gen_3" is the fourth row of its input.
        identity = ids[int(str(metadata["request_id"]).rpartition("_")[2])]
        yield identity, str(metadata["problem"]), {"response": turns[-1]["content"]}


def _scored(files: ShardFiles, asked: list[Row]) -> Iterator[tuple[str, str, Row]]:
    """Id, problem and row of `advanced_cot_distill`, which loses the ids but keeps the order."""
    waiting: dict[str, list[str]] = defaultdict(list)
    for row in asked:
        waiting[str(row["problem"])].append(str(row["id"]))
    for row in _rows(files.scored):
        problem = str(row.get("instruction"))
        if waiting[problem]:
            yield waiting[problem].pop(0), problem, row


def _chains(result: Harvest, found: Iterator[tuple[str, str, Row]]) -> None:
    for identity, problem, row in found:
        result.answered += 1
        response = str(row.get("response") or "")
        thought, solution = tagged_sections(response)
        record: Row = {"thought": thought, "solution": solution, "full_response": response}
        if not thought:
            result.counts["without reasoning"] += 1
        if "logical_correctness" in row or "reasoning_verbosity" in row:
            record |= _levels(row)
            result.counts["unscored"] += not {"Reasoning_Verbosity", "Cognitive_Difficulty"} <= record.keys()
        result.rows.append({"id": identity, "question": problem, "reasoning": [record]})


def _levels(row: Row) -> Row:
    """The scores that lie on the scale. 2.x takes the first number of a reply, whatever it counts."""
    levels: Row = {}
    for key, name in (
        ("reasoning_verbosity", "Reasoning_Verbosity"),
        ("cognitive_difficulty", "Cognitive_Difficulty"),
    ):
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9:
            levels[name] = {"level": value}
    if isinstance(row.get("logical_correctness"), bool):
        levels["thought_correctness_verify"] = row["logical_correctness"]
    return levels


def _candidates(files: ShardFiles) -> Iterator[Row]:
    return (row for row in _rows(files.answered) if row.get("candidates"))


def _pairs(result: Harvest, files: ShardFiles, system_prompt: str) -> None:
    asked = [{"role": "system", "content": system_prompt}] if system_prompt else []
    result.answered = sum(1 for _ in _candidates(files))
    for row in _rows(files.scored):
        chosen, rejected = str(row.get("chosen") or ""), str(row.get("rejected") or "")
        if not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
            continue
        result.rows.append(
            {
                "id": str(row["id"]),
                "prompt": [*asked, {"role": "user", "content": str(row["instruction"])}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
                "chosen_score": row.get("chosen_score"),
                "rejected_score": row.get("rejected_score"),
            }
        )
    result.counts["no pair"] = result.answered - len(result.rows)


def dump_row(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
