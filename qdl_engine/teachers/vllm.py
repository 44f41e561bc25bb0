"""A teacher in this process, on vLLM where it is installed: many prompts at once on a GPU."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import EventSink, Note, no_sink
from qdl_engine.core.prompts import END_OF_TURN
from qdl_engine.models.checkpoint import fingerprint
from qdl_engine.models.generate import Meter, Reason, Stopped, StreamChunk
from qdl_engine.teachers.base import (
    Decoding,
    Logits,
    Question,
    Result,
    TeacherAnswer,
    answer_key,
    reason_of,
)
from qdl_engine.teachers.budget import Budget

QUANTIZATION: dict[str, dict[str, str]] = {
    "8bit": {"quantization": "fp8"},
    "4bit": {"quantization": "bitsandbytes"},
    "bf16": {"dtype": "bfloat16"},
    "none": {},
}
"""Our settings as vLLM's. It has no 8-bit bitsandbytes; fp8 weights are as small."""
GPU_SHARE = 0.9
"""The part of a GPU's memory that vLLM takes, whatever the teacher needs: `gpu_memory_utilization`."""
INSTALL = (
    "Install it beside qdl on a Linux machine with a GPU: pip install vllm\n"
    'Or run its server elsewhere (vllm serve MODEL) and set teacher.kind = "server" and teacher.url, '
    'or set teacher.kind = "hf".'
)


class VllmTeacher:
    """Loads its weights at the first question. Takes our rendered prompts, as `HfTeacher` does."""

    logits: Logits = "top-k"
    parameters = 0
    device = "vllm"

    def __init__(self, model: str, decoding: Decoding, *, quantization: str = "8bit") -> None:
        self.name = model
        self.decoding = decoding
        self.quantization = quantization
        self._llm: Any = None
        self.budget = Budget()
        self._identity = fingerprint(model)

    def key(self, question: Question) -> str:
        how = self.decoding
        weights = f"vllm {self.quantization}"
        return answer_key(question.prompt, self._identity, weights, how.max_new_tokens, how.temperature)

    def load(self, on_event: EventSink) -> None:
        """Load the weights.

        Raises:
            ModelError: when vLLM is not installed, or rejects the model.
        """
        if self._llm is not None:
            return
        try:
            from vllm import LLM
        except ImportError as missing:
            raise ModelError(f"vLLM is not installed: {missing}", INSTALL) from missing
        on_event(Note(f"Loading the teacher {self.name} with vLLM"))
        try:
            # "vllm": no sampling default of the checkpoint leaks into greedy decoding.
            self._llm = LLM(
                model=self.name,
                generation_config="vllm",
                gpu_memory_utilization=GPU_SHARE,
                **QUANTIZATION[self.quantization],
            )
        except (RuntimeError, ValueError, OSError) as cause:
            first = str(cause).strip().splitlines()[:1]
            raise ModelError(
                f"vLLM cannot load {self.name}: {''.join(first)[:200]}",
                'It may not fit: set teacher.quantization to "8bit" or "4bit". Its own log says more.',
            ) from cause

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        meter, started = Meter(len(questions), on_event), time.perf_counter()
        for index, output in self._outputs(questions, self.decoding, on_event):
            if not output.finished:
                continue
            said = output.outputs[0]
            meter.row_done(len(said.token_ids))
            yield (
                index,
                TeacherAnswer(
                    said.text,
                    len(said.token_ids),
                    _reason(said),
                    prompt_tokens=len(output.prompt_token_ids or ()),
                    seconds=time.perf_counter() - started,
                ),
            )
            meter.step(0)
        meter.finish()

    def stream(self, question: Question, decoding: Decoding) -> Generator[StreamChunk, None, None]:
        started, first, shown = time.perf_counter(), 0.0, ""
        for _, output in self._outputs([question], decoding, no_sink):
            said, seconds = output.outputs[0], time.perf_counter() - started
            first = first or seconds
            new, shown = said.text[len(shown) :], said.text
            stopped: Stopped | None = None
            if output.finished:
                stopped = "length" if said.finish_reason == "length" else "eos"
            reason: Reason = _reason(said) if output.finished else ""
            yield StreamChunk(new, len(said.token_ids), first, output.finished, seconds, stopped, reason)

    def _outputs(
        self, questions: Sequence[Question], decoding: Decoding, on_event: EventSink
    ) -> Iterator[tuple[int, Any]]:
        """Every output of every engine step, with its question's index: `LLM.generate` keeps them to the end.

        When the reader stops early, the remaining requests are removed from the engine.
        """
        # First, because its error says what to do where vLLM is not installed.
        self.load(on_event)
        from vllm import SamplingParams

        stop = self._llm.get_tokenizer().get_vocab().get(END_OF_TURN)
        sampling = SamplingParams(
            temperature=decoding.temperature,
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=[] if stop is None else [stop],
            seed=0,
        )
        engine = self._llm.llm_engine
        waiting = {str(index) for index in range(len(questions))}
        for index, question in enumerate(questions):
            engine.add_request(str(index), question.prompt, sampling)
        try:
            while waiting:
                for output in engine.step():
                    if output.finished:
                        waiting.discard(output.request_id)
                    yield int(output.request_id), output
        finally:
            if waiting:
                engine.abort_request(sorted(waiting))

    def close(self) -> None:
        self._llm = None


def _reason(said: Any) -> Reason:
    return reason_of(said.text, cut=said.finish_reason == "length")
