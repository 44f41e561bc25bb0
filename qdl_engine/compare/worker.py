"""A process that holds models and answers, spoken to in JSON lines: `python -m qdl_engine.compare.worker`.

The app starts it so that it never loads a model itself. Requests come in on stdin, one JSON object a line:

    {"op": "load", "name": "teacher"|"system1"|"system2", "path": ..., "quantization": ...}
    {"op": "load", "name": "teacher", "teacher": {the settings of [teacher]}, "root": the lab's directory}
    {"op": "ask", "id": ..., "name": ..., "prompt": ..., "mode": ..., "system_prompt": ...,
     "max_new_tokens": ..., "temperature": ...}
    {"op": "cancel", "id": ...}    {"op": "unload", "name": ...}    {"op": "quit"}

and events go out on stdout: `ready`, `loaded`, `load_failed`, `not_loaded`, `unloaded`, `chunk`, `answer`,
`error`. A `load` may carry the `id` of the question it is for: when that is cancelled before its turn, it is
`not_loaded`. Every `ask` ends with exactly one `answer` or `error`. The end of stdin ends the process: a
killed app frees its GPU.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from qdl_engine.compare.comparison import Answer
from qdl_engine.core.errors import LabError
from qdl_engine.core.events import json_line, no_sink

if TYPE_CHECKING:
    from qdl_engine.core.prompts import Mode
    from qdl_engine.models.load import Quantization
    from qdl_engine.teachers.base import Teacher
    from qdl_engine.teachers.make import Speaker

Request = dict[str, Any]

QUIT_SECONDS = 2.0
"""How long a quit waits for the work at hand; loading a model cannot be interrupted, but it can be left."""


class Worker:
    """Does the requests in their order; a cancel overtakes them."""

    def __init__(self, send: Callable[..., None]) -> None:
        self.send = send
        self.models: dict[str, Speaker] = {}
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
                self.send("error", message="Not a request", hint=repr(line[:200]))
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
        self.send("ready")
        while not self.closing.is_set():
            request = self.requests.get()
            if request is None:
                break
            self._do(request)
        self.finished.set()

    def _do(self, request: Request) -> None:
        """One request; whatever goes wrong with it is its own answer and leaves the worker standing."""
        operations = {"load": self._load, "ask": self._ask, "unload": self._unload}
        failure = "load_failed" if request["op"] == "load" else "error"
        about = {key: request[key] for key in ("id", "name") if key in request}
        try:
            if request["op"] not in operations:
                raise LabError(f"Unknown operation: {request['op']!r}", f"Known: {', '.join(operations)}")
            operations[request["op"]](request)
        except LabError as error:
            self.send(failure, **about, message=error.message, hint=error.hint)
        except Exception as error:  # noqa: BLE001 - the traceback goes to stderr, which the app keeps as a log
            traceback.print_exc()
            message = f"The model worker failed: {type(error).__name__}: {str(error)[:200]}"
            self.send(failure, **about, message=message, hint="The worker's log has the details.")

    def _load(self, request: Request) -> None:
        from qdl_engine.models.load import free_memory, load_student, load_teacher

        name = _text(request, "name")
        if self._is_cancelled(request):
            self.send("not_loaded", id=request["id"], name=name)
            return
        if self.models.pop(name, None) is not None:
            free_memory()
        started = time.perf_counter()
        loaded: Speaker
        if request.get("teacher"):
            loaded = _teacher(request)
        elif name == "teacher":
            quantization: Quantization = request.get("quantization") or "8bit"
            loaded = load_teacher(_text(request, "path"), quantization=quantization)
        else:
            loaded = load_student(_text(request, "path"))
        self.models[name] = loaded
        seconds = time.perf_counter() - started
        self.send("loaded", name=name, seconds=seconds, parameters=loaded.parameters, device=loaded.device)

    def _unload(self, request: Request) -> None:
        from qdl_engine.models.load import free_memory

        name = _text(request, "name")
        if self.models.pop(name, None) is not None:
            free_memory()
        self.send("unloaded", name=name)

    def _ask(self, request: Request) -> None:
        name = _text(request, "name")
        if self._is_cancelled(request):
            self._answer(request, Answer.of("", 0, 0.0, 0.0, "cancelled"))
            return
        if name not in self.models:
            raise LabError(f"{name} is not loaded", "Load it first.")
        self._answer(request, self._stream(request, self.models[name]))

    def _stream(self, request: Request, speaker: Speaker) -> Answer:
        from qdl_engine.teachers.base import Asking
        from qdl_engine.teachers.make import stream_from

        text, tokens, seconds, first, stopped, reason = "", 0, 0.0, 0.0, "cancelled", ""
        mode: Mode = request.get("mode") or "system1"
        system_prompt = request.get("system_prompt")
        asking = Asking(int(request.get("max_new_tokens") or 512), float(request.get("temperature") or 0.0))
        for piece in stream_from(speaker, _text(request, "prompt"), mode, system_prompt, asking):
            text += piece.text
            tokens, seconds, first = piece.tokens, piece.seconds, piece.first_token_seconds
            if piece.text:
                self.send("chunk", id=request.get("id"), name=request["name"], text=piece.text)
            if piece.done:
                stopped, reason = piece.stopped or "length", piece.reason
            elif self._is_cancelled(request):
                break
        return Answer.of(text, tokens, seconds, first, stopped, reason)

    def _answer(self, request: Request, answer: Answer) -> None:
        self.cancelled.discard(str(request.get("id")))
        self.send("answer", id=request.get("id"), name=request["name"], **asdict(answer))

    def _is_cancelled(self, request: Request) -> bool:
        return self.closing.is_set() or str(request.get("id")) in self.cancelled


def _teacher(request: Request) -> Teacher:
    """A teacher of any kind; its key is read here, in this process, and never travels in a request."""
    from qdl_engine.settings import TeacherSettings
    from qdl_engine.teachers.make import make_teacher

    teacher = make_teacher(TeacherSettings.model_validate(request["teacher"]), Path(_text(request, "root")))
    teacher.load(no_sink)
    return teacher


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise LabError(f"The request has no {key}: {request.get('op')}")
    return value


def private_stdout() -> BinaryIO:
    """Take stdout for the events alone: what a library prints goes to stderr and cannot break a line."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb", buffering=0)


def main() -> int:
    """Serve until stdin ends."""
    # Two processes that spin for each other's cores are several times slower than two that wait.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    output, lock = private_stdout(), threading.Lock()

    def send(kind: str, **values: Any) -> None:
        line = json_line({"event": kind, **values}).encode("utf-8", "replace") + b"\n"
        with lock:
            try:
                output.write(line)
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
