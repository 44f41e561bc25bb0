"""A process that holds models and answers in JSON lines: `python -m qdl_engine.compare.worker`.

The app starts it so that it never loads a model itself. Requests come in on stdin, one JSON object a line:

    {"op": "ask", "id": ..., "model": {the fields of a ModelSpec}, "prompt": ..., "max_new_tokens": ...,
     "temperature": ...}
    {"op": "cancel", "id": ...}    {"op": "quit"}

Replies (`compare/replies.py`) go out on stdout: `Ready` once, then for each `ask`, with its id and the
model's name: `Loading` unless the model is in memory, `Loaded`, any number of `Chunk`, and last exactly one
of `Answered`, `AskFailed` and `LoadFailed`. A model stays in memory until another one, or newer weights, are
asked for under its name.
The end of stdin ends the process: an app that was killed frees its GPU.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

from qdl_engine.compare.ask import ModelSpec, ReadyModel, load_model
from qdl_engine.compare.comparison import Answer
from qdl_engine.compare.replies import (
    Answered,
    AskFailed,
    Chunk,
    Loaded,
    LoadFailed,
    Loading,
    Ready,
    Reply,
    to_line,
)
from qdl_engine.core.errors import LabError
from qdl_engine.models.load import free_memory
from qdl_engine.teachers.base import Decoding

Request = dict[str, Any]

QUIT_SECONDS = 2.0
"""How long a quit waits for the current request: loading a model cannot be interrupted, only abandoned."""


class Worker:
    """Handles the requests in their order; a cancel overtakes them."""

    def __init__(self, send: Callable[[Reply], None]) -> None:
        self.send = send
        self.models: dict[str, tuple[tuple[object, ...], ReadyModel]] = {}
        """By name: which weights are in memory, and the model."""
        self.requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.cancelled: set[str] = set()
        self.closing = threading.Event()
        self.finished = threading.Event()

    def listen(self, lines: BinaryIO) -> None:
        """Read requests until the input ends; runs in a thread of its own."""
        for line in lines:
            try:
                request = json.loads(line)
                operation = request["op"]
            except (ValueError, KeyError, TypeError):
                self.send(AskFailed("Not a request", repr(line[:200])))
                continue
            if operation == "quit":
                break
            if operation == "cancel":
                self.cancelled.add(str(request.get("id")))
            else:
                self.requests.put(request)
        self.closing.set()
        self.requests.put(None)
        if not self.finished.wait(QUIT_SECONDS):
            os._exit(0)

    def run(self) -> None:
        """Work until asked to stop."""
        self.send(Ready())
        while not self.closing.is_set():
            request = self.requests.get()
            if request is None:
                break
            self._do(request)
        self.finished.set()

    def _do(self, request: Request) -> None:
        """Answer one request; whatever goes wrong is sent as its answer and leaves the worker running."""
        about = {"id": str(request.get("id", ""))}
        failure: type[AskFailed | LoadFailed] = AskFailed
        try:
            spec, prompt, asking = _question(request)
            about["name"] = spec.name
            cancelled = partial(self._is_cancelled, about["id"])
            answer = Answer.of("", 0, 0.0, 0.0, "cancelled")
            if not cancelled():
                failure = LoadFailed
                model = self._ready(spec, about)
                failure = AskFailed
                # Loading takes long enough for a cancel to arrive meanwhile.
                if not cancelled():
                    on_text = partial(self._send_text, about)
                    answer = model.ask(prompt, spec, asking, on_text=on_text, cancelled=cancelled)
            self.send(Answered(answer, **about))
        except LabError as error:
            self.send(failure(error.message, error.hint, **about))
        except Exception as error:  # noqa: BLE001 - the traceback goes to stderr, which the app keeps as a log
            traceback.print_exc()
            message = f"The model worker failed: {type(error).__name__}: {str(error)[:200]}"
            self.send(failure(message, "The worker's log has the details.", **about))
        self.cancelled.discard(about["id"])

    def _ready(self, spec: ModelSpec, about: dict[str, str]) -> ReadyModel:
        """The model, loaded unless its weights are in memory."""
        weights = spec.weights
        held = self.models.get(spec.name)
        if held is None or held[0] != weights:
            self.send(Loading(**about))
            if held is not None:
                # Before the new weights are loaded: memory may not hold both.
                del held, self.models[spec.name]
                free_memory()
            held = self.models[spec.name] = weights, load_model(spec)
        model = held[1]
        speaker = model.speaker
        self.send(Loaded(model.load_seconds, speaker.parameters, speaker.device, **about))
        return model

    def _send_text(self, about: dict[str, str], text: str) -> None:
        self.send(Chunk(text, **about))

    def _is_cancelled(self, question: str) -> bool:
        return self.closing.is_set() or question in self.cancelled


def _question(request: Request) -> tuple[ModelSpec, str, Decoding]:
    """What an `ask` asks.

    Raises:
        LabError: when the request is something else.
    """
    try:
        if request["op"] != "ask":
            raise LabError(f"Unknown operation: {request['op']!r}", "Known: ask, cancel, quit.")
        asking = Decoding(int(request["max_new_tokens"]), float(request["temperature"]))
        return ModelSpec(**request["model"]), request["prompt"], asking
    except (KeyError, TypeError, ValueError) as broken:
        raise LabError(f"Not a question: {request}"[:300], repr(broken)) from broken


def private_stdout() -> BinaryIO:
    """Take stdout for the replies alone: what a library prints goes to stderr and cannot break a line."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb", buffering=0)


def main() -> int:
    """Serve until stdin ends."""
    # Two processes that spin for each other's cores are several times slower than two that wait.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    output, lock = private_stdout(), threading.Lock()

    def send(reply: Reply) -> None:
        with lock:
            try:
                output.write(to_line(reply))
            except BrokenPipeError:
                os._exit(0)

    worker = Worker(send)
    listener = threading.Thread(target=worker.listen, args=(sys.stdin.buffer,), daemon=True)
    listener.start()
    worker.run()
    # Torch frees tensors without the lock of the interpreter: where the garbage collector runs in a thread
    # that outlives the main one, that ends the process with an abort instead of 0.
    listener.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
