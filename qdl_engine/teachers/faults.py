"""What can go wrong with one request, and what a person is told when it goes wrong with all of them."""

from __future__ import annotations

import httpx2

from qdl_engine.errors import ModelError
from qdl_engine.teachers.address import Secret
from qdl_engine.teachers.base import FailureKind
from qdl_engine.teachers.pace import retry_after
from qdl_engine.teachers.wire import body_error
from qdl_engine.text import one_line

HOPELESS = frozenset({401, 402, 403, 404, *range(300, 400)})
"""From a server that has not answered yet these are wrong settings, not a wrong question."""


class AskError(Exception):
    """One request without an answer."""

    def __init__(
        self, kind: FailureKind, message: str, *, status: int = 0, after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.status = status
        self.after = after
        """Seconds after which the server wants to be asked again."""


def status_error(response: httpx2.Response, body: bytes, key: Secret) -> AskError:
    """What a status other than 200 means for the question."""
    status, said = response.status_code, body_error(body, key)
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    after = retry_after(response.headers.get("Retry-After"))
    if status == 429:
        if "insufficient_quota" in body.decode("utf-8", errors="replace"):
            return AskError("refused", message, status=402)
        return AskError("rate limited", message, status=status, after=after)
    if status == 408:
        return AskError("timeout", message, status=status)
    if status >= 500:
        return AskError("server error", message, status=status, after=after)
    if 300 <= status < 400:
        place = one_line(key.mask(response.headers.get("Location", "")), 120)
        return AskError("refused", f"HTTP {status}: redirected to {place or 'nowhere'}", status=status)
    return AskError("refused", message, status=status)


def total_failure(error: AskError, url: str, model: str) -> ModelError:
    """What to tell a person when not this question but the server is the trouble."""
    said = error.message
    if error.status in (401, 403):
        return ModelError(
            f"The server at {url} refuses the key: {said}",
            "Set teacher.api_key_env to the variable that holds it, or teacher.api_key_file.",
        )
    if error.status == 402:
        return ModelError(f"No credit left at {url}: {said}", "What is answered stays. Go on later.")
    if error.status == 404:
        return ModelError(
            f"The server at {url} does not know {model or 'its models'}: {said}",
            "Set teacher.model to a name it serves (empty: its only one), or mend teacher.url.",
        )
    if 300 <= error.status < 400:
        return ModelError(
            f"The server at {url} wants to be asked elsewhere: {said}",
            "Redirects are not followed, for the key's sake. Set teacher.url to that address.",
        )
    return ModelError(
        f"No answer from the server at {url}: {said}",
        "Look whether it runs and teacher.url is right. What is answered stays: go on with the same command.",
    )
