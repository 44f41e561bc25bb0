"""A teacher in this process, on vLLM, where that is installed: many prompts at once on a GPU."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import EventSink, Note, no_sink
from qdl_engine.core.prompts import END_OF_TURN
from qdl_engine.models.checkpoint import fingerprint
from qdl_engine.models.generate import REPEAT_LIMIT, Meter, Reason, Stopped, StreamChunk
from qdl_engine.teachers.answers import answer_key
from qdl_engine.teachers.base import Asking, Logits, Question, Result, TeacherAnswer
from qdl_engine.teachers.budget import Budget

QUANTIZATION: dict[str, dict[str, str]] = {
    "8bit": {"quantization": "fp8"},
    "4bit": {"quantization": "bitsandbytes"},
    "bf16": {"dtype": "bfloat16"},
    "none": {},
}
"""What our words are to vLLM, which has no 8-bit bitsandbytes: fp8 weights are as small."""
GPU_SHARE = 0.9
"""Of a GPU's memory that vLLM takes, whatever the teacher needs: `gpu_memory_utilization`."""
INSTALL = (
    "Install it beside qdl on a Linux machine with a GPU: pip install vllm\n"
    'Or run its server elsewhere (vllm serve MODEL) and set teacher.kind = "server" and teacher.url, '
    'or set teacher.kind = "hf".'
)


class VllmTeacher:
    """Loads its weights when it is first asked. Takes our rendered prompts, as `HfTeacher` does."""

    logits: Logits = "top-k"
    parameters = 0
    device = "vllm"

    def __init__(self, model: str, asking: Asking, *, quantization: str = "8bit") -> None:
        self.name = model
        self.asking = asking
        self.quantization = quantization
        self._llm: Any = None
        self.budget = Budget()
        self._identity = fingerprint(model)

    def key(self, question: Question) -> str:
        asking = self.asking
        weights = f"vllm {self.quantization}"
        return answer_key(question.prompt, self._identity, weights, asking.max_new_tokens, asking.temperature)

    def load(self, on_event: EventSink) -> None:
        """Load the weights.

        Raises:
            ModelError: when vLLM is not installed, or refuses the model.
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
        except (RuntimeError, ValueError, OSError) as refused:
            first = str(refused).strip().splitlines()[:1]
            raise ModelError(
                f"vLLM cannot load {self.name}: {''.join(first)[:200]}",
                'It may not fit: set teacher.quantization to "8bit" or "4bit". Its own log says more.',
            ) from refused

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        meter, started = Meter(len(questions), on_event), time.perf_counter()
        for index, output in self._outputs(questions, self.asking, on_event):
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

    def stream(self, question: Question, asking: Asking) -> Generator[StreamChunk, None, None]:
        started, first, shown = time.perf_counter(), 0.0, ""
        for _, output in self._outputs([question], asking, no_sink):
            said, seconds = output.outputs[0], time.perf_counter() - started
            first = first or seconds
            new, shown = said.text[len(shown) :], said.text
            stopped: Stopped | None = None
            if output.finished:
                stopped = "length" if said.finish_reason == "length" else "eos"
            reason: Reason = _reason(said) if output.finished else ""
            yield StreamChunk(new, len(said.token_ids), first, output.finished, seconds, stopped, reason)

    def _outputs(
        self, questions: Sequence[Question], asking: Asking, on_event: EventSink
    ) -> Iterator[tuple[int, Any]]:
        """Every output of every engine step, with its question's index: `LLM.generate` keeps them to the end.

        A reader that leaves early takes the rest of its requests out of the engine.
        """
        # It says what to do where vLLM is not installed; the import below would not.
        self.load(on_event)
        from vllm import SamplingParams

        stop = self._llm.get_tokenizer().get_vocab().get(END_OF_TURN)
        sampling = SamplingParams(
            temperature=asking.temperature,
            max_tokens=asking.max_new_tokens,
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
    text = said.text.strip()
    if said.finish_reason == "length":
        return "repeated" if len(text) >= REPEAT_LIMIT and len(set(text)) == 1 else "cut"
    return "" if text else "empty"
