"""Text out of a loaded model, batched or streamed, with what is wrong with an answer beside it.

The decoding loop is our own instead of `model.generate`, for four reasons: a finished row leaves the batch at
once (twice the tokens per second where answers differ in length), each answer can be stored the moment it is
done, no sampling default of a checkpoint leaks into greedy decoding, and NaN is seen at the step where it
arises. Its greedy tokens equal those of `model.generate`; a test compares the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.errors import ModelError, SettingsError
from qdl_engine.core.events import EventSink, Note, Progress, no_sink
from qdl_engine.core.prompts import Mode, format_prompt
from qdl_engine.models.device import is_out_of_memory
from qdl_engine.models.load import LoadedModel, ModelLike, as_loaded, free_memory, load_student

Stopped = Literal["eos", "length"]
Reason = Literal["", "empty", "cut", "repeated", "too long"]

REPEAT_LIMIT = 64
"""One token so often in a row is no text. An fp16 overflow prints "!" (token 0 of Qwen) without end."""
_SHORT_REPEAT = 8
"""An answer cut at its limit that repeats one token, at least this often, has the same fault."""
_PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Generation:
    """One answer."""

    text: str
    """The completion without its end token, otherwise as the model wrote it: control characters are data."""
    tokens: int
    seconds: float
    """From the start of its batch to its last token."""
    stopped: Stopped
    reason: Reason
    """Empty when the answer is sound, otherwise what is wrong with it."""


@dataclass(frozen=True)
class StreamChunk:
    """The next piece of a streamed answer."""

    text: str
    tokens: int
    """Tokens so far."""
    first_token_seconds: float
    done: bool
    seconds: float
    """Seconds so far."""
    stopped: Stopped | None = None
    reason: Reason = ""


def infer_student(
    path_or_loaded: str | Path | ModelLike,
    instruction: str,
    mode: Mode = "system1",
    *,
    system_prompt: str | None = None,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    device: str = "auto",
) -> str:
    """Ask a student one thing, in the prompt that it was trained with.

    Args:
        path_or_loaded: A checkpoint, a loaded model, or a pair of model and tokenizer.
        instruction: The question, not rendered as a prompt.
        mode: Which student's system prompt to use.
        system_prompt: Replaces the mode's own system prompt.
        max_new_tokens: Longest completion.
        temperature: 0 is greedy.
        device: Where a checkpoint is loaded.

    Returns:
        The completion as written, with its reasoning; `core.prompts.split_completion` separates the two.
    """
    if not isinstance(instruction, str):
        raise SettingsError(
            f"A {type(instruction).__name__} is not an instruction",
            "Give one text; for a list, call once for each.",
        )
    prompt = format_prompt(instruction, mode, system_prompt=system_prompt)
    if isinstance(path_or_loaded, str | Path):
        loaded = load_student(path_or_loaded, device=device)
    else:
        loaded = as_loaded(path_or_loaded, "student")
    answers = generate(loaded, [prompt], max_new_tokens=max_new_tokens, temperature=temperature)
    return answers[0].text


def generate(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    batch_size: int = 16,
    seed: int = 0,
    on_event: EventSink = no_sink,
) -> list[Generation]:
    """Answer every prompt, in the prompts' order. See `generate_each`."""
    answers = dict(
        generate_each(
            loaded,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=batch_size,
            seed=seed,
            on_event=on_event,
        )
    )
    return [answers[index] for index in range(len(prompts))]


def generate_each(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    batch_size: int = 16,
    seed: int = 0,
    on_event: EventSink = no_sink,
) -> Iterator[tuple[int, Generation]]:
    """Yield each answer with its prompt's index, the moment it is done.

    Longest prompts go first, batched with prompts of like length: padding is short, and a batch that does not
    fit fails at the start and not after an hour. Out of GPU memory halves the batch; a `note` says so.

    Args:
        loaded: The model.
        prompts: Rendered prompts; no special token is added.
        max_new_tokens: Longest answer.
        temperature: 0 is greedy.
        batch_size: Prompts generated together.
        seed: Seed of sampling; greedy decoding ignores it.
        on_event: Takes `progress` (prompts done, tokens per second, ETA) and `note`.

    Raises:
        ModelError: when the logits are NaN, or when a single prompt does not fit into the GPU.
    """
    rows, too_long = _make_rows(loaded, prompts, max_new_tokens)
    meter = Meter(len(prompts), on_event)
    for index in too_long:
        meter.row_done(0)
        yield index, Generation("", 0, 0.0, "length", "too long")
    while rows:
        batch = [_Row(row.index, row.prompt, row.limit) for row in rows[:batch_size]]
        started = time.perf_counter()
        out_of_memory = False
        try:
            for live in _decode(loaded, batch, temperature, seed + len(rows)):
                for row in live:
                    if row.stopped is not None:
                        meter.row_done(len(row.tokens))
                        yield row.index, _finish(loaded, row, time.perf_counter() - started)
                meter.step(sum(len(row.tokens) for row in live if row.stopped is None))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise _one_does_not_fit(loaded, batch[0]) from error
            out_of_memory = True
        finished = {row.index for row in batch if row.stopped is not None}
        rows = [row for row in rows if row.index not in finished]
        if out_of_memory:
            # Outside the handler: the exception's frames keep the tensors alive that this frees.
            batch_size = len(batch) // 2
            free_memory()
            on_event(Note(f"Out of GPU memory: continuing with {batch_size} at a time"))
    meter.finish()


def stream(
    loaded: LoadedModel, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0
) -> Iterator[StreamChunk]:
    """Yield one answer piece by piece; joined, the pieces are what `generate` returns. The last is `done`.

    Raises:
        ModelError: as `generate_each`, or when the prompt is longer than the model's context.
    """
    rows, too_long = _make_rows(loaded, [prompt], max_new_tokens)
    if too_long:
        raise ModelError(f"The prompt is longer than the model's context of {loaded.context} tokens")
    row = rows[0]
    pieces = Pieces(loaded.tokenizer)
    started = time.perf_counter()
    first = 0.0
    try:
        for _ in _decode(loaded, [row], temperature, seed):
            seconds = time.perf_counter() - started
            first = first or seconds
            if row.stopped is None:
                yield StreamChunk(pieces.next(row.tokens), len(row.tokens), first, False, seconds)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _one_does_not_fit(loaded, row) from error
    seconds = time.perf_counter() - started
    rest = pieces.next(row.tokens, last=True)
    reason = row.reason(_text(loaded, row))
    yield StreamChunk(rest, len(row.tokens), first, True, seconds, row.stopped, reason)


def _text(loaded: LoadedModel, row: _Row) -> str:
    return str(loaded.tokenizer.decode(row.tokens, clean_up_tokenization_spaces=False))


def _finish(loaded: LoadedModel, row: _Row, seconds: float) -> Generation:
    text = _text(loaded, row)
    return Generation(text, len(row.tokens), seconds, row.stopped or "length", row.reason(text))


def _one_does_not_fit(loaded: LoadedModel, row: _Row) -> ModelError:
    return ModelError(
        f"Out of GPU memory: {loaded.path} does not fit with one prompt of {len(row.prompt)} tokens",
        'Lower teacher.max_new_tokens, set teacher.quantization = "4bit", or choose a smaller teacher.model.',
    )


class Meter:
    """Counts finished prompts and tokens, and sends progress at most every half second."""

    def __init__(self, total: int, on_event: EventSink) -> None:
        self.total, self.on_event = total, on_event
        self.started = self.sent = time.perf_counter()
        self.done = self.tokens = 0

    def row_done(self, tokens: int) -> None:
        self.done += 1
        self.tokens += tokens

    def step(self, tokens_under_way: int) -> None:
        if time.perf_counter() - self.sent >= _PROGRESS_SECONDS:
            self._send(self.tokens + tokens_under_way)

    def finish(self) -> None:
        if self.total:
            self._send(self.tokens)

    def _send(self, tokens: int) -> None:
        self.sent = time.perf_counter()
        elapsed = max(self.sent - self.started, 1e-9)
        eta = elapsed / self.done * (self.total - self.done) if self.done else None
        # Answers from a file generate no tokens.
        rate = tokens / elapsed if tokens else None
        self.on_event(
            Progress(
                stage="generate",
                done=self.done,
                total=self.total,
                unit="prompts",
                tokens_per_second=rate,
                eta_seconds=eta,
            )
        )


@dataclass
class _Row:
    """One prompt in the decoding loop."""

    index: int
    prompt: list[int]
    limit: int
    tokens: list[int] = field(default_factory=list)
    run: int = 0
    """How often in a row the last token came."""
    stopped: Stopped | None = None

    def take(self, token: int, stop_ids: frozenset[int]) -> None:
        """Add a token, or stop at an end token, at the limit, or at endless repetition."""
        if token in stop_ids:
            self.stopped = "eos"
            return
        self.run = self.run + 1 if self.tokens and self.tokens[-1] == token else 1
        self.tokens.append(token)
        if len(self.tokens) >= self.limit or self.run >= REPEAT_LIMIT:
            self.stopped = "length"

    def reason(self, text: str) -> Reason:
        """What is wrong with the finished answer; empty where nothing is."""
        if self.stopped == "length":
            short = self.run == len(self.tokens) >= _SHORT_REPEAT
            return "repeated" if short or self.run >= REPEAT_LIMIT else "cut"
        return "" if text.strip() else "empty"


def _make_rows(
    loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int
) -> tuple[list[_Row], list[int]]:
    """Rows, longest prompt first, and the indexes of the prompts that leave no room for an answer."""
    if not prompts:
        return [], []
    encoded = loaded.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    rows, too_long = [], []
    for index, tokens in enumerate(encoded):
        room = loaded.context - len(tokens)
        if room < 1 or not tokens:
            too_long.append(index)
        else:
            rows.append(_Row(index, tokens, min(max_new_tokens, room)))
    return sorted(rows, key=lambda row: -len(row.prompt)), too_long


def _decode(loaded: LoadedModel, rows: list[_Row], temperature: float, seed: int) -> Iterator[list[_Row]]:
    """Run the batch; yield its rows after each token. Those that have stopped then leave it."""
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
    """Turns tokens into text, never showing half a character."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.start = 0
        self.read = 0

    def next(self, tokens: list[int], *, last: bool = False) -> str:
        """The text that the new tokens add; the tokens before them are decoded again for context."""
        before = self.tokenizer.decode(tokens[self.start : self.read], clean_up_tokenization_spaces=False)
        now = self.tokenizer.decode(tokens[self.start :], clean_up_tokenization_spaces=False)
        if not last and (len(now) <= len(before) or now.endswith("\ufffd")):
            return ""
        self.start, self.read = self.read, len(tokens)
        return str(now[len(before) :])
