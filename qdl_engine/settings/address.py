"""Where a server is, and the key it asks for: read with care, never shown."""

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
"""Characters; a shorter key (`EMPTY`, `ollama`) is a word that answers may hold for reasons of their own."""
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, repr=False)
class Secret:
    """A key that prints as stars, wherever it is printed."""

    value: str = ""

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return "***" if self.value else "''"

    __str__ = __repr__

    def mask(self, text: str) -> str:
        """`text` without the key: servers like to quote it in their errors.

        Only a whole key is found, so a text is masked before it is cut.
        """
        for form in self.forms:
            text = text.replace(form, "***")
        return text

    @property
    def in_answers(self) -> Secret:
        """What is masked in answers, which are trained on: the key, unless it is too short to be a secret."""
        return self if len(self.value) >= SHORTEST_SECRET else Secret()

    @property
    def forms(self) -> list[str]:
        """The key as it may stand in a text: bare, or inside the quotes of JSON; the longest first."""
        if not self.value:
            return []
        quoted = json.dumps(self.value)[1:-1]
        return sorted({self.value, quoted, quoted.replace("/", "\\/")}, key=lambda form: (-len(form), form))


@dataclass
class Masking:
    """Masks a text that comes in pieces: what may be the beginning of the key waits for the next piece."""

    key: Secret
    _held: str = field(default="", repr=False)

    def take(self, piece: str) -> str:
        """The text up to here without the key, less what waits."""
        text = self.key.mask(self._held + piece)
        waiting = max((_begun(text, form) for form in self.key.forms), default=0)
        self._held = text[len(text) - waiting :]
        return text[: len(text) - waiting]

    def end(self) -> str:
        """What still waits: no more comes, so it is no key."""
        rest, self._held = self._held, ""
        return rest


def _begun(text: str, form: str) -> int:
    """How many characters at the end of `text` may be the beginning of `form`."""
    longest = min(len(form) - 1, len(text))
    return next((count for count in range(longest, 0, -1) if text.endswith(form[:count])), 0)


def server_url(text: str) -> str:
    """The base address of an OpenAI-compatible server, to which `/chat/completions` is added.

    A bare host gets the usual `/v1`; a full address of the chat endpoint loses its end.

    Raises:
        SettingsError: when it is no http or https address, or holds credentials or a query.
    """
    word = text.strip()
    if not word:
        raise SettingsError("teacher.url is empty", f'A teacher of kind "server" needs it, {EXAMPLE}')
    if not word.isprintable() or " " in word:
        raise SettingsError("teacher.url holds white space", f"Write one {EXAMPLE}")
    try:
        parts = urlsplit(word)
        host, _ = parts.hostname, parts.port
    except ValueError as broken:
        raise SettingsError(f"teacher.url is no address: {broken}", f"Write one {EXAMPLE}") from broken
    if parts.username is not None or parts.password is not None:
        # Not quoted: the address holds a secret.
        raise SettingsError(
            "teacher.url holds a user name or password",
            "Take it out. Keys come from the variable that teacher.api_key_env names, or from a file.",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"teacher.url is no http or https address: {word}", f"Write one {EXAMPLE}")
    if parts.query or parts.fragment:
        raise SettingsError("teacher.url ends in a query", f"Leave out what follows ? or #, {EXAMPLE}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def is_local(url: str) -> bool:
    """Whether the server is this machine: no proxy is asked then."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(variable: str, file: str) -> Secret:
    """The key, from the environment variable or the file that the settings name; none when they name none.

    Raises:
        SettingsError: when the variable is not set, or others can read the file.
    """
    if variable:
        if not ENVIRONMENT_NAME.fullmatch(variable):
            # Not quoted: it may be the key itself.
            raise SettingsError(
                "teacher.api_key_env is no name of an environment variable",
                "Write the variable's name there, such as OPENAI_API_KEY, never the key.",
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
            f"Cannot read the key in {path}: {cause}", "teacher.api_key_file is a file that holds the key."
        ) from cause
    if stat.S_IMODE(mode) & 0o077:
        raise SettingsError(f"Others can read the key in {path}", f"Close it: chmod 600 {path}")
    if not text:
        raise SettingsError(f"No key in {path}", "Write the key there, on one line.")
    return _checked(text, str(path))


def _checked(value: str, place: str) -> Secret:
    """A key that cannot be sent as a header must not be told by an error that quotes it."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise SettingsError(f"The key in {place} is no key", "It must be one word of plain characters.")
    return Secret(value)
