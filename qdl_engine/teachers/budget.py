"""What a labelling may cost, in tokens and money. It is never exceeded: worst cases are reserved first."""

from __future__ import annotations

from dataclasses import dataclass, field

from qdl_engine.core.errors import LabError

BYTES_PER_TOKEN = 2
"""Few enough for any language: English has about 4 bytes in a token, Chinese 3."""
TEMPLATE_TOKENS = 32


class BudgetError(LabError):
    """The budget is spent before all is asked; what is answered stays."""


@dataclass(frozen=True)
class Prices:
    """What a million tokens costs, in whatever currency the user thinks in; 0 is not known."""

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
    """Tokens and money spent, against their limits; 0 is no limit."""

    tokens: int = 0
    money: float = 0.0
    prices: Prices = field(default_factory=Prices)
    spent_in: int = 0
    spent_out: int = 0
    reserved: list[Need] = field(default_factory=list)
    exhausted: bool = False
    """Whether a question was left unasked because it might not have fitted."""

    @property
    def spent(self) -> int:
        return self.spent_in + self.spent_out

    @property
    def cost(self) -> float:
        return self.prices.cost(self.spent_in, self.spent_out)

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        self.spent_in += tokens_in
        self.spent_out += tokens_out

    def fits(self, need: Need) -> bool:
        """Whether `need` is left when everything reserved is used up."""
        tokens_in = self.spent_in + need.tokens_in + sum(other.tokens_in for other in self.reserved)
        tokens_out = self.spent_out + need.tokens_out + sum(other.tokens_out for other in self.reserved)
        return (not self.tokens or tokens_in + tokens_out <= self.tokens) and (
            not self.money or self.prices.cost(tokens_in, tokens_out) <= self.money
        )

    def text(self) -> str:
        """What is spent of what, for a person."""
        parts = []
        if self.tokens:
            parts.append(f"{self.spent:,} of {self.tokens:,} tokens")
        if self.money:
            parts.append(f"{self.cost:,.2f} of {self.money:,.2f} in money")
        return ", ".join(parts) or f"{self.spent:,} tokens"
