"""The decoding loop: one forward pass after another over a batch that shrinks as its rows finish.

A loop of our own instead of `model.generate`, for four reasons: a finished row leaves the batch at once
(twice the tokens per second where answers differ in length), each answer can be stored the moment it is done,
no sampling default of a checkpoint leaks into greedy decoding, and NaN is seen at the step where it arises.
Its greedy tokens equal those of `model.generate`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.errors import ModelError

if TYPE_CHECKING:
    from qdl_engine.models import LoadedModel

Stopped = Literal["eos", "length"]
Reason = Literal["", "empty", "cut", "repeated", "too long"]

REPEAT_LIMIT = 64
"""One token so often in a row is no text. An fp16 overflow prints "!" (token 0 of Qwen) without end."""
SHORT_REPEAT = 8
"""An answer cut at its limit that is one token, at least so often, is taken for the same fault."""


@dataclass
class Row:
    """One prompt on its way through the loop."""

    index: int
    prompt: list[int]
    limit: int
    tokens: list[int] = field(default_factory=list)
    run: int = 0
    """How often the last token stands at the end."""
    stopped: Stopped | None = None

    def take(self, token: int, stop_ids: frozenset[int]) -> None:
        if token in stop_ids:
            self.stopped = "eos"
            return
        self.run = self.run + 1 if self.tokens and self.tokens[-1] == token else 1
        self.tokens.append(token)
        if len(self.tokens) >= self.limit or self.run >= REPEAT_LIMIT:
            self.stopped = "length"

    def reason(self, text: str) -> Reason:
        if self.stopped == "length":
            short = self.run == len(self.tokens) >= SHORT_REPEAT
            return "repeated" if short or self.run >= REPEAT_LIMIT else "cut"
        return "" if text.strip() else "empty"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory; on some paths it says so only in the message."""
    import torch

    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(mark in text for mark in ("out of memory", "ALLOC_FAILED", "can't allocate memory"))
    )


def make_rows(
    loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int
) -> tuple[list[Row], list[int]]:
    """Rows, longest prompt first, and the indexes of prompts that leave no room for an answer."""
    if not prompts:
        return [], []
    encoded = loaded.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    rows, too_long = [], []
    for index, tokens in enumerate(encoded):
        room = loaded.context - len(tokens)
        if room < 1 or not tokens:
            too_long.append(index)
        else:
            rows.append(Row(index, tokens, min(max_new_tokens, room)))
    return sorted(rows, key=lambda row: -len(row.prompt)), too_long


def decode(loaded: LoadedModel, rows: list[Row], temperature: float, seed: int) -> Iterator[list[Row]]:
    """Run the batch; yield the rows in it after each token. Those that have stopped then leave it."""
    import torch
    from transformers import DynamicCache

    width = max(len(row.prompt) for row in rows)
    padding = loaded.tokenizer.pad_token_id or 0
    padded = [[padding] * (width - len(row.prompt)) + row.prompt for row in rows]
    mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows])
    ids, mask = torch.tensor(padded).to(loaded.device), mask.to(loaded.device)
    cache = DynamicCache(config=loaded.model.config)
    random = torch.Generator(loaded.device).manual_seed(seed)
    while rows:
        chosen = _next_tokens(loaded, ids, mask, cache, temperature, random)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.take(token, loaded.stop_ids)
        yield rows
        live = [place for place, row in enumerate(rows) if row.stopped is None]
        if len(live) < len(rows):
            rows = [rows[place] for place in live]
            if not rows:
                return
            keep = torch.tensor(live, device=loaded.device)
            cache.batch_select_indices(keep)
            mask, chosen = mask[keep], chosen[keep]
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)


def _next_tokens(
    loaded: LoadedModel, ids: Any, mask: Any, cache: Any, temperature: float, random: Any
) -> Any:
    """One forward pass over `ids` (B, T), and the chosen token of each row (B)."""
    import torch

    # Not around the loop: a generator would leave the mode on for whoever consumes it.
    with torch.no_grad():
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = loaded.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1].float()
        if not bool(torch.isfinite(logits.amax(-1)).all()):
            raise ModelError(
                f"{loaded.path} computes NaN instead of text ({loaded.model.dtype})",
                'A 16-bit overflow, or a broken checkpoint. Set teacher.quantization = "4bit", use a card '
                "that has bf16 (Ampere or later), or run on the CPU, which computes in fp32.",
            )
        if temperature <= 0:
            return logits.argmax(-1)
        return torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=random)[:, 0]


class Pieces:
    """Tokens into text without ever showing half a character."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.start = 0
        self.read = 0

    def next(self, tokens: list[int], *, last: bool = False) -> str:
        """What the new tokens add; a few tokens before them are decoded again for their context."""
        before = self.tokenizer.decode(tokens[self.start : self.read], clean_up_tokenization_spaces=False)
        now = self.tokenizer.decode(tokens[self.start :], clean_up_tokenization_spaces=False)
        if not last and (len(now) <= len(before) or now.endswith("\ufffd")):
            return ""
        self.start, self.read = self.read, len(tokens)
        return str(now[len(before) :])
