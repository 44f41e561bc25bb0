"""One model at one server, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from qdl_engine.teachers.address import Secret
from qdl_engine.teachers.pace import Retry


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, what for, and how patiently."""

    url: str
    """As `server_url` returns it."""
    model: str = ""
    """Its name there; empty is the one model that is served."""
    key: Secret = field(default_factory=Secret)
    max_new_tokens: int = 1024
    temperature: float = 0.0
    timeout: float = 300.0
    """Seconds for one answer, from the request to its last byte."""
    concurrency: int = 8
    retry: Retry = field(default_factory=Retry)
