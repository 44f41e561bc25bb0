"""What labelling may cost, in tokens and money. It never exceeds that: worst cases are reserved first."""

from __future__ import annotations

from dataclasses import dataclass, field

from qdl_engine.core.errors import LabError

BYTES_PER_TOKEN = 2
"""Few enough for any language: a token of English has about 4 bytes, one of Chinese 3."""
TEMPLATE_TOKENS = 32


class BudgetError(LabError):
    """The budget is spent before every question is asked; the answers so far are kept."""


@dataclass(frozen=True)
class Prices:
    """The price of a million tokens, in the user's currency; 0 when unknown."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.tokens_in or self.tokens_out)

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


@dataclass(frozen=True)
class Need:
    """The most that one question can take."""

    tokens_in: int
    tokens_out: int

    @classmethod
    def of(cls, prompt: str, max_new_tokens: int) -> Need:
        size = len(prompt.encode(errors="replace"))
        return cls(size // BYTES_PER_TOKEN + TEMPLATE_TOKENS, max_new_tokens)


@dataclass
class Budget:
    """Tokens and money spent, and their limits; a limit of 0 is none."""

    tokens: int = 0
    money: float = 0.0
    prices: Prices = field(default_factory=Prices)
    spent_in: int = 0
    spent_out: int = 0
    reserved: list[Need] = field(default_factory=list)
    exhausted: bool = False
    """Whether a question was not asked because it might not have fitted."""

    @property
    def spent(self) -> int:
        return self.spent_in + self.spent_out

    @property
    def cost(self) -> float:
        return self.prices.cost(self.spent_in, self.spent_out)

    @property
    def known_cost(self) -> float | None:
        """The cost so far; None without prices."""
        return self.cost if self.prices else None

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        self.spent_in += tokens_in
        self.spent_out += tokens_out

    def fits(self, need: Need) -> bool:
        """Whether `need` still fits once everything reserved is used up."""
        tokens_in = self.spent_in + need.tokens_in + sum(other.tokens_in for other in self.reserved)
        tokens_out = self.spent_out + need.tokens_out + sum(other.tokens_out for other in self.reserved)
        return (not self.tokens or tokens_in + tokens_out <= self.tokens) and (
            not self.money or self.prices.cost(tokens_in, tokens_out) <= self.money
        )

    def spent_error(self, unasked: str) -> BudgetError:
        """The error of a pass that had to stop; `unasked` says how many questions it left."""
        parts = [f"{self.spent:,} of {self.tokens:,} tokens"] if self.tokens else []
        parts += [f"{self.cost:,.2f} of {self.money:,.2f} in money"] if self.money else []
        return BudgetError(
            f"The budget is spent: {', '.join(parts) or f'{self.spent:,} tokens'}. {unasked}",
            "The answers so far are kept. Raise teacher.budget_tokens or teacher.budget_money and repeat the "
            "command: it resumes where it stopped.",
        )
