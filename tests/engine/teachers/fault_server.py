"""An OpenAI-compatible server that misbehaves on request: what to do stands in the question itself.

A question `<fault> ...` meets that fault; any other is answered with its own words in capitals. Faults that
pass (`429 twice`) count the attempts of their question. Nothing here waits for a fixed time: a hang lasts
until the server is closed.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "the-model"


def completion(text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    words = len((text or "").split())
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words},
    }


class FaultServer(ThreadingHTTPServer):
    """Keeps what it was asked, and how many questions it had at once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.attempts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.payloads: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.models = [MODEL]
        self.key = ""
        self.active = self.most_active = 0
        self.before_answer: Callable[[str], None] = lambda question: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left in the middle is what these tests do."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Tests are quiet."""

    def send(
        self, status: int, body: Any, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})
        else:
            self.send(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, question = self.server, payload["messages"][-1]["content"]
        with server.lock:
            server.attempts[question] += 1
            attempt = server.attempts[question]
            server.payloads.append(payload)
            server.headers.append(dict(self.headers.items()))
            server.active += 1
            server.most_active = max(server.most_active, server.active)
        try:
            self.answer(payload, question, attempt)
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, payload: dict[str, Any], question: str, attempt: int) -> None:
        server = self.server
        if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            given = self.headers.get("Authorization")
            self.send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
        elif payload["model"] not in server.models:
            self.send(404, {"error": {"message": "The model does not exist."}})
        elif (fault := FAULTS.get(question.split(" #")[0])) is not None:
            fault(self, attempt)
        else:
            server.before_answer(question)
            if payload.get("stream"):
                self.stream(question.upper())
            else:
                self.send(200, completion(question.upper()))
            with server.lock:
                server.answered[question] += 1

    def stream(self, text: str, *, whole: bool = True, reasoning: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b": a comment\n\n")
        deltas = [{"reasoning_content": word} for word in reasoning.split(" ") if word]
        deltas += [{"content": word + " "} for word in text.split(" ")]
        for delta in deltas:
            self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        if whole:
            self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": len(deltas)}})
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, value: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def cut(self) -> None:
        """Promise more than is sent."""
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": {"content": "half an ans')
        self.close_connection = True

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def drip(self) -> None:
        """A byte now and then, without end: no pause is long, the whole is."""
        self.send_response(200)
        self.send_header("Content-Length", "5000000")
        self.end_headers()
        while not self.server.closing.wait(0.05):
            self.wfile.write(b" ")
            self.wfile.flush()

    def silence(self) -> None:
        """Begin a stream and never go on."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.flush()
        self.server.closing.wait()

    def new_name(self) -> None:
        payload = self.server.payloads[-1]
        if "max_tokens" in payload:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            self.send(400, {"error": {"message": message}})
        else:
            self.send(200, completion(f"limit {payload['max_completion_tokens']}"))

    def passing(self, status: int, times: int, attempt: int, headers: dict[str, str] | None = None) -> None:
        if attempt <= times:
            self.send(status, {"error": {"message": f"passing {status}"}}, headers)
        else:
            self.send(200, completion("at last"))


Fault = Callable[[Handler, int], Any]
FAULTS: dict[str, Fault] = {
    "half a pair": lambda handler, _: handler.send(200, completion("a\ud800b")),
    "429 twice": lambda handler, attempt: handler.passing(429, 2, attempt),
    "429 with retry-after": lambda handler, attempt: handler.passing(429, 1, attempt, {"Retry-After": "0.2"}),
    "429 for an hour": lambda handler, _: handler.send(429, {"error": "later"}, {"Retry-After": "3600"}),
    "429 always": lambda handler, _: handler.send(429, {"error": {"message": "slow down"}}),
    "500 twice": lambda handler, attempt: handler.passing(500, 2, attempt),
    "500 always": lambda handler, _: handler.send(500, b"<html>\x1b[31mboom</html>", kind="text/html"),
    "400": lambda handler, _: handler.send(400, {"error": {"message": "bad words"}}),
    "too long": lambda handler, _: handler.send(
        400, {"message": "This model's maximum context length is 4096 tokens."}
    ),
    "filtered": lambda handler, _: handler.send(200, completion("so", "content_filter")),
    "cut": lambda handler, _: handler.send(200, completion("and then", "length")),
    "empty": lambda handler, _: handler.send(200, completion("")),
    "reasons": lambda handler, _: handler.send(200, completion("42", reasoning_content="six times seven")),
    "only reasons": lambda handler, _: handler.send(
        200, completion(None, "length", reasoning_content="six times")
    ),
    "hang": lambda handler, _: handler.server.closing.wait(),
    "half a body": lambda handler, _: handler.cut(),
    "drip": lambda handler, _: handler.drip(),
    "hang up": lambda handler, _: handler.hang_up(),
    "rubbish": lambda handler, _: handler.send(200, b"{not json at all"),
    "rubbish once": lambda handler, attempt: (
        handler.send(200, b"oops") if attempt == 1 else handler.send(200, completion("at last"))
    ),
    "no choices": lambda handler, _: handler.send(200, {"choices": []}),
    "a list": lambda handler, _: handler.send(200, [1, 2]),
    "null": lambda handler, _: handler.send(200, b"null"),
    "an error as 200": lambda handler, _: handler.send(200, {"error": {"message": "overloaded"}}),
    "html": lambda handler, _: handler.send(200, b"<html>Sign in</html>", kind="text/html"),
    "plain text type": lambda handler, _: handler.send(200, completion("fine"), kind="text/plain"),
    "a stream": lambda handler, _: handler.stream("piece by piece"),
    "half a stream": lambda handler, _: handler.stream("piece by", whole=False),
    "a reasoning stream": lambda handler, _: handler.stream("42", reasoning="six"),
    "silence": lambda handler, _: handler.silence(),
    "new name": lambda handler, _: handler.new_name(),
    "redirect": lambda handler, _: handler.send(307, b"", {"Location": "http://elsewhere.invalid/v1"}),
}

ENDLESS = frozenset({"hang", "drip", "silence"})


@contextmanager
def fault_server() -> Iterator[FaultServer]:
    server = FaultServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
