"""A judge gives chains the levels they lack: Reasoning Verbosity, Cognitive Difficulty, and correctness.

Any teacher can judge. Each reply is stored at once with the labels, so an interrupted scoring resumes at the
row where it stopped.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import chain as concatenate
from itertools import islice
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import DataError
from qdl_engine.core.events import EventSink, Note, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.prompts import (
    HIGHEST_SCORE,
    JUDGE_SYSTEM_PROMPT,
    METRICS,
    Metric,
    join_reasoning,
    judge_prompt,
)
from qdl_engine.core.words import money_text, one_line, two_columns
from qdl_engine.data.files import whole_file
from qdl_engine.data.sampling import row_id, whole
from qdl_engine.data.schemas import ROWS_TO_DETECT, Chain, chains_of, choose_schema
from qdl_engine.data.sources import read_file
from qdl_engine.settings import LabSettings
from qdl_engine.teachers.answers import Replies, ask_all
from qdl_engine.teachers.base import Question

Levels = dict[Metric, int]
JudgeQuestion = tuple[int, Metric, Question]
"""The place of a chain, and one question about it."""

_SCORE = re.compile(r"<score>(.*?)</score>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class ScoreReport:
    """What became of every chain, and what it cost."""

    chains: int
    had_levels: int
    """Chains that came with both levels, so that no question was needed."""
    scored: int
    """Chains that have both levels now and lacked one before."""
    unscored: int
    """Chains that still lack a level: the judge gave none that can be read."""
    skipped: int
    """Rows of the source that hold no chain."""
    found_wrong: int
    """Chains that the judge calls wrong; the recipe's require_verified drops them."""
    rv: dict[int, int]
    """Chains by Reasoning Verbosity, including those that came with it."""
    cd: dict[int, int]
    asked: int
    reused: int
    tokens: int
    cost: float | None
    """Of all the judge's replies, the reused ones included; None without prices."""
    seconds: float
    output: str
    examples: list[str] = field(default_factory=list)
    """The first few replies without a score."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """The report in a line."""
        wrong = f"; {self.found_wrong:,} found wrong" if self.found_wrong else ""
        return f"Scored {self.scored:,} of {self.scored + self.unscored:,} chains that lacked a level{wrong}"

    def table(self) -> str:
        """The report as lines for a terminal, with both histograms."""
        counts = {
            "chains": self.chains,
            "had levels": self.had_levels,
            "scored": self.scored,
            "unscored": self.unscored,
            "found wrong": self.found_wrong,
            "skipped": self.skipped,
            "asked now": self.asked,
            "reused": self.reused,
        }
        figures = [(name, f"{count:,}") for name, count in counts.items()]
        figures += [] if self.cost is None else [("cost", money_text(self.cost))]
        lines = [two_columns(figures)]
        top = max([*self.rv.values(), *self.cd.values(), 1])
        lines += ["", f"{'level':<7}{'Reasoning Verbosity':<34}Cognitive Difficulty"]
        lines += [
            f"{level:<7}{_bar(self.rv, level, top):<34}{_bar(self.cd, level, top)}" for level in range(10)
        ]
        lines += [f"No score in: {example}" for example in self.examples]
        return "\n".join(line.rstrip() for line in [*lines, "", self.output])


def _bar(histogram: dict[int, int], level: int, top: int, width: int = 22) -> str:
    count = histogram.get(level, 0)
    return f"{'#' * round(count / top * width)} {count:,}".strip() if count else "."


def score_chains(
    lab: Lab,
    settings: LabSettings,
    *,
    source: Path | None = None,
    output: Path | None = None,
    everything: bool = False,
    reasoning_only: bool = True,
    on_event: EventSink = no_sink,
) -> ScoreReport:
    """Score the chains that lack a level; the others keep theirs.

    Args:
        lab: The lab.
        settings: Its settings; `settings.teacher` is the judge.
        source: A file of chains instead of the prepared ones.
        output: Where to write instead of `data/scored_chains.jsonl`.
        everything: Score every chain, also those with levels.
        reasoning_only: Skip answers without reasoning: System 2 cannot train on them.
        on_event: Takes `progress` and `note`.

    Raises:
        DataError: when there are no chains, or no score of the judge can be read.
        ModelError: as labelling does.
        LabBusyError: when another process writes in this lab.
    """
    started = time.perf_counter()
    path = source or lab.omnithought_cot
    chains, skipped = _read(lab, path, settings, reasoning_only)
    missing = [
        place for place, chain in enumerate(chains) if everything or chain.rv is None or chain.cd is None
    ]
    target = output or lab.scored_chains
    levels: dict[int, Levels] = {}
    examples: list[str] = []
    replies = Replies()
    if missing:
        on_event(Note(f"{len(missing)} of {len(chains)} chains lack a level"))
        asked = [
            (place, metric, _judge_question(chains[place], metric)) for place in missing for metric in METRICS
        ]
        questions = [question for _, _, question in asked]
        replies = ask_all(lab, settings.teacher, questions, stage="score", keep="answer", on_event=on_event)
        levels, examples = _levels(asked, replies)
    rows = [_row(chain, levels.get(place, {})) for place, chain in enumerate(chains)]
    scored = sum(_has_levels(rows[place]) for place in missing)
    if missing and not scored:
        example = f" It says: {examples[0]}" if examples else f" {replies.counts_in_words()}."
        raise DataError(
            f"The judge gave no score that can be read for {len(missing)} chains",
            f"A reply must end with <score>N</score>; choose a more able teacher.model.{example}",
        )
    report = ScoreReport(
        chains=len(chains),
        had_levels=len(chains) - len(missing),
        scored=scored,
        unscored=len(missing) - scored,
        skipped=skipped,
        found_wrong=sum(rows[place].get("logical_correctness") is False for place in missing),
        rv=_histogram(rows, "reasoning_verbosity"),
        cd=_histogram(rows, "cognitive_difficulty"),
        asked=replies.asked,
        reused=replies.reused,
        tokens=replies.tokens,
        cost=replies.cost,
        seconds=time.perf_counter() - started,
        output=str(target),
        examples=examples,
    )
    with lab.writer_lock("scoring"):
        with whole_file(target) as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_json_atomic(lab.score_report, report.to_dict())
    return report


def _read(lab: Lab, path: Path, settings: LabSettings, reasoning_only: bool) -> tuple[list[Chain], int]:
    """The chains of a file, and the number of rows without one."""
    if not path.is_file():
        raise DataError(
            f"No chains to score: {path}",
            f"Name a file, or prepare them: qdl --lab {lab.word} prepare system2",
        )
    rows = read_file(path)
    first = list(islice(rows, ROWS_TO_DETECT))
    known = [row.value for row in first if isinstance(row.value, dict)]
    recipe = settings.system2
    own = Path(recipe.source).expanduser().absolute() == path.absolute()
    _, schema = choose_schema(
        recipe.fields if own else "auto", recipe.mapping if own else {}, known, source=str(path)
    )
    chains: list[Chain] = []
    skipped = 0
    for row in concatenate(first, rows):
        found = [] if row.problem else chains_of(row.value, schema)
        usable = [chain for chain in found if isinstance(chain, Chain) and _is_whole(chain, reasoning_only)]
        skipped += max(len(found), 1) - len(usable)
        chains += usable
    if not chains:
        raise DataError(f"No chains to score in {path}", "A chain has a question, reasoning and an answer.")
    return chains, skipped


def _is_whole(chain: Chain, reasoning_only: bool) -> bool:
    reasons = chain.thought.strip() or not reasoning_only
    return bool(chain.instruction.strip() and reasons and chain.answer.strip()) and not chain.cut


def _judge_question(chain: Chain, metric: Metric) -> Question:
    solution = f"{chain.thought}\n\n{chain.answer}".strip()
    return Question(judge_prompt(metric, chain.instruction, solution), JUDGE_SYSTEM_PROMPT)


def _levels(asked: list[JudgeQuestion], replies: Replies) -> tuple[dict[int, Levels], list[str]]:
    """The scores by chain, and the first few replies without one."""
    levels: dict[int, Levels] = {}
    examples: list[str] = []
    for number, (place, metric, _) in enumerate(asked):
        text = replies.texts.get(number)
        if text is None:
            continue
        score = parse_score(text, metric)
        if score is not None:
            levels.setdefault(place, {})[metric] = score
        elif len(examples) < 3:
            examples.append(one_line(text, 80))
    return levels, examples


def parse_score(reply: str, metric: Metric) -> int | None:
    """The score in a judge's reply; None when it has none, two that differ, or one off the scale.

    Nothing is guessed: a number outside the tags is a count of steps or years as often as a score.
    """
    found = {text.strip() for text in _SCORE.findall(reply)}
    if len(found) != 1:
        return None
    text = found.pop()
    if not re.fullmatch(r"[0-9]", text):
        return None
    return int(text) if int(text) <= HIGHEST_SCORE[metric] else None


def _row(chain: Chain, levels: Levels) -> dict[str, Any]:
    """One row in the flat shape of EasyDistill's own scores, which any recipe can read as its source."""
    output = join_reasoning(chain.thought, chain.answer) if chain.thought else chain.answer
    correct = bool(levels["correct"]) if "correct" in levels else chain.verified
    row = {
        "id": row_id(chain.instruction, output),
        "instruction": chain.instruction,
        "output": output,
        "reasoning_verbosity": levels.get("rv", whole(chain.rv)),
        "cognitive_difficulty": levels.get("cd", whole(chain.cd)),
    }
    return row if correct is None else row | {"logical_correctness": correct}


def _has_levels(row: dict[str, Any]) -> bool:
    return row["reasoning_verbosity"] is not None and row["cognitive_difficulty"] is not None


def _histogram(rows: Iterable[dict[str, Any]], key: str) -> dict[int, int]:
    counts = Counter(int(row[key]) for row in rows if row[key] is not None)
    return dict(sorted(counts.items()))
