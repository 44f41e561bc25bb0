"""Counting tokens: exact where it decides, bounded where a row is huge."""

from __future__ import annotations

from typing import Any

from qdl_engine.data.sampling import token_counts


class Letters:
    """One token a letter; remembers the longest text it was given."""

    longest = 0

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any:
        self.longest = max(self.longest, *map(len, text))
        return {"input_ids": [list(range(len(one.replace(" ", "")))) for one in text]}


def test_a_huge_row_is_not_tokenised_whole() -> None:
    tokenizer = Letters()
    assert token_counts(["x" * 3_000_000, "abc"], tokenizer, 2048) == [(400_000, True), (3, False)]
    assert tokenizer.longest == 400_000


def test_a_long_row_of_few_tokens_is_counted_to_its_end() -> None:
    tokenizer = Letters()
    assert token_counts([" " * 500_000 + "abc"], tokenizer, 2048) == [(3, False)]
    assert tokenizer.longest == 500_003
