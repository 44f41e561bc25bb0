"""The report of a labelling: every row accounted for, and the answers that a person should check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from qdl_engine.core.words import money_text, two_columns

LONGEST_REFUSAL = 600
"""Characters; a longer answer that begins with an apology mostly answers after it."""

REFUSALS = (
    "i'm sorry, but",
    "i am sorry, but",
    "i'm sorry. i",
    "sorry, but i",
    "i apologize, but",
    "i cannot",
    "i can't",
    "i can not",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i won't",
    "i must decline",
    "i do not have access",
    "i don't have access",
    "as an ai",
    "as a language model",
    "as a large language model",
    "unfortunately, i can",
    "unfortunately, i am",
    "unfortunately, i'm",
    "很抱歉",
    "抱歉",
    "对不起",
    "我无法",
    "我不能",
    "我没有办法",
    "作为一个人工智能",
    "作为人工智能",
    "作为一个ai",
    "作为一个语言模型",
    "作为ai",
)


def looks_refused(answer: str) -> bool:
    """Whether an answer is only a refusal.

    A guess by the opening words, English and Chinese, of a short answer; it also catches `I cannot stress
    this enough`. That is why such answers are counted and, unless the settings say otherwise, kept.
    """
    text = answer.strip()
    opening = text[:80].lower().replace("\u2019", "'")
    return len(text) <= LONGEST_REFUSAL and opening.startswith(REFUSALS)


@dataclass(frozen=True)
class Unanswered:
    """A row whose prompt has no answer."""

    row: int
    """Its number among the rows, from 1."""
    kind: str
    message: str


@dataclass(frozen=True)
class LabelReport:
    """What became of every row, and what it cost."""

    teacher: str
    rows: int
    kept: int
    empty: int
    """No answer left without the reasoning."""
    cut: int
    """Stopped at max_new_tokens; dropped unless keep_cut_answers."""
    repeated: int
    """One token without end."""
    too_long: int
    """A prompt that fills the teacher's context."""
    broken: int
    """A row without an instruction."""
    refused: int
    """A refusal, judging by the opening words; dropped unless keep_refused_answers."""
    duplicated: int
    """Kept rows with the same answer as another kept row; short answers often coincide."""
    failed: dict[str, int]
    """Rows without an answer, by kind of failure. The next labelling asks them again."""
    left: int
    """Rows not asked, because the budget was spent."""
    asked: int
    """Prompts sent to the teacher now."""
    reused: int
    """Prompts that an earlier labelling answered."""
    tokens: int
    """Tokens generated now."""
    prompt_tokens: int
    """Prompt tokens read now, where the teacher counts them."""
    cost: float | None
    """Of all these answers, the reused ones included; None without prices."""
    seconds: float
    tokens_per_second: float
    output: str
    unanswered: list[Unanswered] = field(default_factory=list)
    """The first rows that failed."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """The report in a line: what was kept, what was dropped and why, and which kept rows are doubtful."""
        dropped = ", ".join(f"{count:,} {name}" for name, count in self._dropped().items())
        doubtful = [f"{self.refused:,} refused"] if self.refused else []
        if self.duplicated:
            # At length: "duplicated" alone does not say that they are kept.
            rows = "row shares its answer" if self.duplicated == 1 else "rows share their answers"
            doubtful.append(f"{self.duplicated:,} kept {rows} with another")
        kept = f"Kept {self.kept:,} of {self.rows:,} rows" + (f": {dropped}" if dropped else "")
        return "; ".join([kept, *doubtful])

    def _dropped(self) -> dict[str, int]:
        counts = {
            "empty": self.empty,
            "cut at the limit": self.cut,
            "one token repeated": self.repeated,
            "prompt too long": self.too_long,
            "broken": self.broken,
            **{f"failed: {kind}": count for kind, count in sorted(self.failed.items())},
            "not asked: budget": self.left,
        }
        return {name: count for name, count in counts.items() if count}

    def _doubtful(self) -> dict[str, int]:
        counts = {"refused": self.refused, "same answer": self.duplicated}
        return {name: count for name, count in counts.items() if count}

    def table(self) -> str:
        """The report as lines for a terminal."""
        lines = [("rows", f"{self.rows:,}"), ("kept", f"{self.kept:,}")]
        lines += [(name, f"{count:,}") for name, count in {**self._dropped(), **self._doubtful()}.items()]
        lines += [("asked now", f"{self.asked:,}"), ("reused", f"{self.reused:,}")]
        if self.cost is not None:
            lines.append(("cost", money_text(self.cost)))
        if self.tokens:
            lines.append(("speed", f"{self.tokens_per_second:,.0f} tokens/s"))
        lines.append(("time", f"{self.seconds:,.0f} s"))
        return two_columns(lines)
