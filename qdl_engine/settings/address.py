"""The address and the key of a teacher's server. The key is never shown."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from qdl_engine.core.errors import SettingsError

EXAMPLE = 'such as teacher.url = "http://localhost:8000/v1"'
SHORTEST_SECRET = 12
"""Characters. A shorter key (`EMPTY`, `ollama`) is a word that answers may contain by chance."""
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, repr=False)
class Secret:
    """A key that prints as stars."""

    value: str = ""

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return "***" if self.value else "''"

    __str__ = __repr__

    def mask(self, text: str) -> str:
        """`text` without the key: servers quote it in their errors.

        This finds only a whole key, so mask a text before you cut it.
        """
        for form in self.forms:
            text = text.replace(form, "***")
        return text

    @property
    def in_answers(self) -> Secret:
        """The key to mask in answers, which are trained on; none when it is too short to be a secret."""
        return self if len(self.value) >= SHORTEST_SECRET else Secret()

    @property
    def forms(self) -> list[str]:
        """The key as a text may contain it: bare or escaped by JSON, the longest form first."""
        if not self.value:
            return []
        quoted = json.dumps(self.value)[1:-1]
        return sorted({self.value, quoted, quoted.replace("/", "\\/")}, key=lambda form: (-len(form), form))


@dataclass
class Masking:
    """Masks a text that arrives in pieces: a possible beginning of the key waits for the next piece."""

    key: Secret
    _held: str = field(default="", repr=False)

    def take(self, piece: str) -> str:
        """The masked text so far, without what waits."""
        text = self.key.mask(self._held + piece)
        waiting = max((_begun(text, form) for form in self.key.forms), default=0)
        self._held = text[len(text) - waiting :]
        return text[: len(text) - waiting]

    def end(self) -> str:
        """What still waits: no more text comes, so it is not the key."""
        rest, self._held = self._held, ""
        return rest


def _begun(text: str, form: str) -> int:
    """How many characters at the end of `text` may begin `form`."""
    longest = min(len(form) - 1, len(text))
    return next((count for count in range(longest, 0, -1) if text.endswith(form[:count])), 0)


def server_url(text: str) -> str:
    """The base address of an OpenAI-compatible server; callers add `/chat/completions`.

    A bare host gets the usual `/v1`; the full address of the chat endpoint loses its end.

    Raises:
        SettingsError: when it is not an http or https address, or contains credentials or a query.
    """
    word = text.strip()
    if not word:
        raise SettingsError("teacher.url is empty", f'A teacher of kind "server" needs an address, {EXAMPLE}')
    if not word.isprintable() or " " in word:
        raise SettingsError("teacher.url contains white space", f"Write an address {EXAMPLE}")
    try:
        parts = urlsplit(word)
        host, _ = parts.hostname, parts.port
    except ValueError as broken:
        raise SettingsError(f"teacher.url is not an address: {broken}", f"Write one {EXAMPLE}") from broken
    if parts.username is not None or parts.password is not None:
        # The address is not quoted: it contains a secret.
        raise SettingsError(
            "teacher.url contains a user name or password",
            "Remove it. Put the key into a variable (teacher.api_key_env) or a file (teacher.api_key_file).",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"teacher.url is not an http or https address: {word}", f"Write one {EXAMPLE}")
    if parts.query or parts.fragment:
        raise SettingsError("teacher.url ends in a query", f"Remove ? or # and what follows, {EXAMPLE}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def is_local(url: str) -> bool:
    """Whether the server is this machine, which needs no proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(variable: str, file: str) -> Secret:
    """The key from the environment variable or the file that the settings name; empty when they name neither.

    Raises:
        SettingsError: when the variable is not set, or when others can read the file.
    """
    if variable:
        if not ENVIRONMENT_NAME.fullmatch(variable):
            # The value is not quoted: it may be the key itself.
            raise SettingsError(
                "teacher.api_key_env is not the name of an environment variable",
                "Write the variable's name, such as OPENAI_API_KEY, never the key.",
            )
        value = os.environ.get(variable, "").strip()
        if not value:
            raise SettingsError(
                f"The environment variable {variable} is not set", f"Set it: export {variable}=..."
            )
        return _checked(value, f"the environment variable {variable}")
    return _read_key_file(Path(file).expanduser()) if file else Secret()


def _read_key_file(path: Path) -> Secret:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsError(
            f"Cannot read the key in {path}: {cause}",
            "teacher.api_key_file names the file with the key.",
        ) from cause
    if stat.S_IMODE(mode) & 0o077:
        raise SettingsError(f"Others can read the key in {path}", f"Make it private: chmod 600 {path}")
    if not text:
        raise SettingsError(f"No key in {path}", "Write the key there, on one line.")
    return _checked(text, str(path))


def _checked(value: str, place: str) -> Secret:
    """A key that fits into a header; the error of a later library would quote it."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise SettingsError(f"The key in {place} is not usable", "It must be one word of ASCII characters.")
    return Secret(value)
