"""Text out of a loaded model: batched or streamed, with what is wrong with an answer said beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdl_engine.decoding import Pieces, Reason, Row, Stopped, decode, is_out_of_memory, make_rows
from qdl_engine.errors import ModelError
from qdl_engine.events import EventSink, make_event, no_sink

if TYPE_CHECKING:
    from qdl_engine.models import LoadedModel

PROGRESS_SECONDS = 0.5


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
    """Answer every prompt; the order is the prompts'. See `generate_each`."""
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

    Longest prompts go first, batched with their like: padding is short, and a batch that does not fit fails
    at the start and not after an hour. Out of GPU memory halves the batch and goes on, noted by an event.

    Args:
        loaded: The model.
        prompts: Rendered prompts; no special token is added.
        max_new_tokens: Longest answer.
        temperature: 0 is greedy.
        batch_size: Prompts generated together.
        seed: Seed of sampling; greedy decoding ignores it.
        on_event: Takes `progress` (prompts done, tokens per second, ETA) and `note`.

    Raises:
        ModelError: when the logits are NaN, or when not even one prompt fits into the GPU.
    """
    rows, too_long = make_rows(loaded, prompts, max_new_tokens)
    meter = Meter(len(prompts), on_event)
    for index in too_long:
        meter.row_done(0)
        yield index, Generation("", 0, 0.0, "length", "too long")
    while rows:
        batch = [Row(row.index, row.prompt, row.limit) for row in rows[:batch_size]]
        started = time.perf_counter()
        out_of_memory = False
        try:
            for live in decode(loaded, batch, temperature, seed + len(rows)):
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
            # Outside the handler: the exception's frames hold the tensors that are to be freed.
            batch_size = len(batch) // 2
            _free()
            on_event(make_event("note", message=f"Out of GPU memory: going on with {batch_size} at a time"))
    meter.finish()


def stream(
    loaded: LoadedModel, prompt: str, *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0
) -> Iterator[StreamChunk]:
    """Yield one answer piece by piece; the pieces join to what `generate` returns. The last one is `done`.

    Raises:
        ModelError: as `generate_each`, or when the prompt is longer than the model's context.
    """
    rows, too_long = make_rows(loaded, [prompt], max_new_tokens)
    if too_long:
        raise ModelError(f"The prompt is longer than the {loaded.context} tokens the model reads at once")
    row = rows[0]
    pieces = Pieces(loaded.tokenizer)
    started = time.perf_counter()
    first = 0.0
    try:
        for _ in decode(loaded, [row], temperature, seed):
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


def _text(loaded: LoadedModel, row: Row) -> str:
    return str(loaded.tokenizer.decode(row.tokens, clean_up_tokenization_spaces=False))


def _finish(loaded: LoadedModel, row: Row, seconds: float) -> Generation:
    text = _text(loaded, row)
    return Generation(text, len(row.tokens), seconds, row.stopped or "length", row.reason(text))


def _free() -> None:
    from qdl_engine.models import free_memory

    free_memory()


def _one_does_not_fit(loaded: LoadedModel, row: Row) -> ModelError:
    return ModelError(
        f"Out of GPU memory: {loaded.path} does not fit with one prompt of {len(row.prompt)} tokens",
        'Lower teacher.max_new_tokens, set teacher.quantization = "4bit", or choose a smaller teacher.model.',
    )


class Meter:
    """Counts, and sends progress at most every half second."""

    def __init__(self, total: int, on_event: EventSink) -> None:
        self.total, self.on_event = total, on_event
        self.started = self.sent = time.perf_counter()
        self.done = self.tokens = 0

    def row_done(self, tokens: int) -> None:
        self.done += 1
        self.tokens += tokens

    def step(self, tokens_under_way: int) -> None:
        if time.perf_counter() - self.sent >= PROGRESS_SECONDS:
            self._send(self.tokens + tokens_under_way)

    def finish(self) -> None:
        if self.total:
            self._send(self.tokens)

    def _send(self, tokens: int) -> None:
        self.sent = time.perf_counter()
        elapsed = max(self.sent - self.started, 1e-9)
        eta = elapsed / self.done * (self.total - self.done) if self.done else None
        # A file of answers generates nothing.
        rate = tokens / elapsed if tokens else None
        self.on_event(
            make_event(
                "progress",
                stage="generate",
                done=self.done,
                total=self.total,
                unit="prompts",
                rate=rate,
                rate_unit="tokens/s",
                tokens_per_second=rate,
                eta_seconds=eta,
            )
        )
