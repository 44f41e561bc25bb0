"""The words by which two answers differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST_WORDS = 3000
"""Words compared in each answer: the time grows faster than their number."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
"""Chinese and Japanese have no spaces between words: each character counts as a word."""

Span = tuple[int, int]
"""Start and end in the text, in characters."""


@dataclass(frozen=True)
class Difference:
    """Where two texts differ. Spacing and line breaks do not count."""

    one: tuple[Span, ...]
    """What only the first text has."""
    other: tuple[Span, ...]
    """What only the second text has."""
    cut: bool = False
    """Whether a text was too long to compare to its end."""

    @property
    def same(self) -> bool:
        """Whether both answers have the same words."""
        return not (self.one or self.other or self.cut)


def word_difference(one: str, other: str) -> Difference:
    """Compare two texts word by word (`difflib`); adjacent words that differ make one span.

    Both are cut to `MOST_WORDS`. In texts of 200 words or more, difflib does not anchor on frequent words:
    without that rule, comparing a model that repeats itself endlessly would take minutes.
    """
    first, second = list(_WORD.finditer(one)), list(_WORD.finditer(other))
    cut = max(len(first), len(second)) > MOST_WORDS
    first, second = first[:MOST_WORDS], second[:MOST_WORDS]
    start = _same_at_start(first, second)
    end = _same_at_start(first[start:][::-1], second[start:][::-1])
    first, second = first[start : len(first) - end], second[start : len(second) - end]
    matcher = SequenceMatcher(None, [word[0] for word in first], [word[0] for word in second])
    ones: list[Span] = []
    others: list[Span] = []
    for tag, a_start, a_end, b_start, b_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        if a_end > a_start:
            ones.append((first[a_start].start(), first[a_end - 1].end()))
        if b_end > b_start:
            others.append((second[b_start].start(), second[b_end - 1].end()))
    return Difference(tuple(ones), tuple(others), cut)


def _same_at_start(first: list[re.Match[str]], second: list[re.Match[str]]) -> int:
    """How many words match before the first difference."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, other) in pairs if one[0] != other[0]), min(len(first), len(second)))


def marked(text: str, spans: tuple[Span, ...], opening: str, closing: str) -> str:
    """`text` with each span between two marks, for output that cannot underline."""
    parts: list[str] = []
    position = 0
    for start, end in spans:
        parts += [text[position:start], opening, text[start:end], closing]
        position = end
    return "".join([*parts, text[position:]])
