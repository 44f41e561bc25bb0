"""A teacher's replies to questions that are no rows of a student: a judge's, or a generation job's.

A judge gives chains the levels they lack: Reasoning Verbosity, Cognitive Difficulty, and correctness.

Any teacher can judge. Every reply is stored at once with the labels, so a killed scoring goes on at the row.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain as concatenate
from itertools import islice
from pathlib import Path
from typing import Any, Literal

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
    split_completion,
)
from qdl_engine.core.words import money_text, one_line, two_columns
from qdl_engine.data.files import whole_file
from qdl_engine.data.sampling import row_id
from qdl_engine.data.schemas import Chain, chains_of, choose_schema
from qdl_engine.data.sources import read_file
from qdl_engine.label.label import Asked
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.teachers.answers import LabelCache, StoredAnswer
from qdl_engine.teachers.base import Question
from qdl_engine.teachers.budget import BudgetError
from qdl_engine.teachers.make import make_teacher

Keep = Literal["answer", "full"]


@dataclass
class Replies:
    """What came back, by the place of its question."""

    texts: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Questions without a text that can be used, by the reason: `cut`, `empty`, `failed`, ..."""
    failure: str = ""
    """The first failure in words."""
    asked: int = 0
    reused: int = 0
    tokens: int = 0
    cost: float | None = None
    """Of all these replies, the earlier ones included; None without prices."""

    def counts_in_words(self) -> str:
        """Why questions have no text; empty when all have one."""
        words = ", ".join(f"{count:,} {name}" for name, count in self.counts.most_common())
        return f"{words} ({self.failure})" if words and self.failure else words


def ask_all(
    lab: Lab,
    teacher: TeacherSettings,
    questions: Sequence[Question],
    *,
    stage: str,
    keep: Keep,
    on_event: EventSink,
) -> Replies:
    """Ask the teacher all questions that have no stored answer; each is stored at once, with the labels.

    Args:
        lab: Its label cache keeps the answers, and its writer's lock is held.
        teacher: Who is asked, and how.
        questions: What to ask; equal ones are asked once.
        stage: What progress events call it.
        keep: `answer` strips the reasoning, `full` keeps it.
        on_event: Takes the progress.

    Raises:
        ModelError: when the teacher as a whole fails.
        BudgetError: when the budget is spent before all is asked.
        DataError: when there is no question.
        LabBusyError: when another process prepares or labels in this lab.
    """
    if not questions:
        raise DataError("Nothing to ask the teacher", "The source holds no row that can be asked about.")
    with lab.writer_lock(stage), closing(make_teacher(teacher, lab.root)) as chosen:
        asked = Asked(chosen, LabelCache(lab.label_cache), on_event, stage=stage)
        asked.run(questions)
        replies = Replies(asked=asked.asked, reused=asked.reused, tokens=asked.tokens)
        replies.cost = chosen.budget.cost if chosen.budget.prices else None
        for place, question in enumerate(questions):
            if (failure := asked.failures.get(question)) is not None:
                replies.counts["failed"] += 1
                replies.failure = replies.failure or failure.message
            elif (answer := asked.answers.get(question)) is not None:
                _take(replies, place, answer, keep, teacher.keep_cut_answers)
            else:
                replies.counts["not asked"] += 1
        left = replies.counts["not asked"]
        if left:
            raise BudgetError(
                f"The budget is spent: {chosen.budget.text()}. {left:,} of {len(questions):,} wait",
                "What is answered stays. Raise teacher.budget_tokens or teacher.budget_money; do it again.",
            )
    return replies


def _take(replies: Replies, place: int, answer: StoredAnswer, keep: Keep, keep_cut: bool) -> None:
    if answer.reason in ("repeated", "too long") or (answer.reason == "cut" and not keep_cut):
        replies.counts[answer.reason] += 1
        return
    completion = split_completion(answer.text)
    text = completion.answer if keep == "answer" else answer.text.strip()
    if text and completion.answer:
        replies.texts[place] = text
    else:
        replies.counts[answer.reason or "empty"] += 1


Levels = dict[Metric, int]
Ask = tuple[int, Metric, Question]
"""The place of a chain, and what is asked about it."""

_SCORE = re.compile(r"<score>(.*?)</score>", re.DOTALL | re.IGNORECASE)
_ROWS_TO_DETECT = 20


@dataclass(frozen=True)
class ScoreReport:
    """What became of every chain, and what it cost."""

    chains: int
    had_levels: int
    """Chains that came with both levels; nobody was asked about them."""
    scored: int
    """Chains that have both levels now and had not."""
    unscored: int
    """Chains for which the judge gave no level that can be read."""
    skipped: int
    """Rows of the source that hold no chain."""
    found_wrong: int
    """Chains that the judge holds to be wrong; the recipe's require_verified drops them."""
    rv: dict[int, int]
    """Chains by Reasoning Verbosity, the ones that came with it included."""
    cd: dict[int, int]
    asked: int
    reused: int
    tokens: int
    cost: float | None
    """Of all the judge's replies, the earlier ones included; None without prices."""
    seconds: float
    output: str
    examples: list[str] = field(default_factory=list)
    """The first few replies without a score."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """The report in a line."""
        wrong = f"; {self.found_wrong:,} found wrong" if self.found_wrong else ""
        return f"Scored {self.scored:,} of {self.scored + self.unscored:,} chains without levels{wrong}"

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
    """Score the chains that have no levels; the others keep theirs.

    Args:
        lab: The lab.
        settings: Its settings; `settings.teacher` is the judge.
        source: A file of chains instead of the prepared ones.
        output: Where to write instead of `data/scored_chains.jsonl`.
        everything: Ask about every chain, also where there are levels.
        reasoning_only: Leave out answers without reasoning: System 2 cannot train on them.
        on_event: Takes `progress` and `note`.

    Raises:
        DataError: when there are no chains, or the judge gave no score that can be read.
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
        on_event(Note(f"{len(missing)} of {len(chains)} chains have no levels"))
        asks = list(_asks(chains, missing))
        questions = [question for _, _, question in asks]
        replies = ask_all(lab, settings.teacher, questions, stage="score", keep="answer", on_event=on_event)
        levels, examples = _levels(asks, replies)
    rows = [_row(chain, levels.get(place, {})) for place, chain in enumerate(chains)]
    scored = sum(_has_levels(rows[place]) for place in missing)
    if missing and not scored:
        example = f" It says: {examples[0]}" if examples else f" {replies.counts_in_words()}."
        raise DataError(
            f"The judge gave no score that can be read, for {len(missing)} chains",
            f"It must end with <score>N</score>; choose a more able teacher.model.{example}",
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
    """The chains of a file, and how many rows hold none."""
    if not path.is_file():
        raise DataError(
            f"No chains to score: {path}", f"Make them: qdl --lab {lab.word} prepare system2, or name a file."
        )
    rows = read_file(path)
    first = list(islice(rows, _ROWS_TO_DETECT))
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


def _asks(chains: list[Chain], places: Iterable[int]) -> Iterator[Ask]:
    for place in places:
        chain = chains[place]
        solution = f"{chain.thought}\n\n{chain.answer}".strip()
        for metric in METRICS:
            prompt = judge_prompt(metric, chain.instruction, solution)
            yield place, metric, Question(prompt, JUDGE_SYSTEM_PROMPT)


def _levels(asks: list[Ask], replies: Replies) -> tuple[dict[int, Levels], list[str]]:
    """The scores by chain, and the first few replies that hold none."""
    levels: dict[int, Levels] = {}
    examples: list[str] = []
    for number, (place, metric, _) in enumerate(asks):
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
    """The score that a judge gives; None when it gives none, two that differ, or one that is off the scale.

    Nothing is guessed: a number outside the tags counts steps or years as often as it scores.
    """
    found = {text.strip() for text in _SCORE.findall(reply)}
    if len(found) != 1:
        return None
    text = found.pop()
    if not re.fullmatch(r"[0-9]", text):
        return None
    return int(text) if int(text) <= HIGHEST_SCORE[metric] else None


def _row(chain: Chain, levels: Levels) -> dict[str, Any]:
    """One row in the flat shape of EasyDistill's own scores, which every recipe's source may have."""
    output = join_reasoning(chain.thought, chain.answer) if chain.thought else chain.answer
    correct = bool(levels["correct"]) if "correct" in levels else chain.verified
    row = {
        "id": row_id(chain.instruction, output),
        "instruction": chain.instruction,
        "output": output,
        "reasoning_verbosity": levels.get("rv", _whole(chain.rv)),
        "cognitive_difficulty": levels.get("cd", _whole(chain.cd)),
    }
    return row if correct is None else row | {"logical_correctness": correct}


def _whole(level: float | None) -> float | None:
    return int(level) if level is not None and level.is_integer() else level


def _has_levels(row: dict[str, Any]) -> bool:
    return row["reasoning_verbosity"] is not None and row["cognitive_difficulty"] is not None


def _histogram(rows: Iterable[dict[str, Any]], key: str) -> dict[int, int]:
    counts = Counter(int(row[key]) for row in rows if row[key] is not None)
    return dict(sorted(counts.items()))
