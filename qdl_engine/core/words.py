"""Text for a terminal: foreign text made harmless, and numbers, sizes, money and times in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_KEPT = "\n\t"
# Control (Cc), surrogates (Cs), line and paragraph separators (Zl, Zp) and the invisible formats that turn
# text around. Other formats (Cf), such as the joiners inside emoji and Indic scripts, are harmless.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r"[ -~\n\t]*")


def printable(text: str) -> str:
    """`text` with visible control characters: ESC as `␛`, others as `␀`-style pictures or `\\u202e`.

    Newlines and tabs stay. A carriage return before a newline is part of the line end and is dropped.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_shown(character) for character in text.replace("\r\n", "\n"))


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can encode `text`: it cannot encode half a surrogate pair, which JSON allows."""
    return text.isascii() or _HALF_PAIR.search(text) is None


def _shown(character: str) -> str:
    if character in _KEPT:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if character in _TURNING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def one_line(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, cut with an ellipsis."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= width else flat[: max(0, width - 1)] + "…"


def last_line(path: Path, limit: int = 8192) -> str:
    """The last line that is not blank; each `\\r` of a progress bar ends a line too."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - limit))
            tail = handle.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in re.split(r"[\r\n]+", tail)]
    return next((line for line in reversed(lines) if line), "")


def sentences(message: str, hint: str) -> str:
    """A message and its hint as separate sentences."""
    stop = "" if not hint or message.endswith((".", "!", "?", ":")) else "."
    return f"{message}{stop} {hint}".strip()


def two_columns(lines: Iterable[tuple[str, str]], width: int = 20) -> str:
    """Names and figures of a report, one pair a line: names to the left, figures to the right."""
    return "\n".join(f"{name:<{width}}{value:>12}" for name, value in lines)


def count_text(count: int) -> str:
    """A large number: `494.03M`, `1.54B`."""
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.2f}{letter}"
    return str(count)


def size_text(size: int) -> str:
    """Bytes: `12 B`, `60.8 MB`, `1.2 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def money_text(amount: float) -> str:
    """Money in an unknown currency: two decimals, or four below 1."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"


def duration(seconds: float) -> str:
    """Seconds: `<1 s`, `42 s`, `3 min 7 s`, `2 h 5 min`."""
    if 0 < seconds < 1:
        return "<1 s"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clock(seconds: float) -> str:
    """Seconds in at most eight cells, for a column or a bar: `7 s`, `2:05`, `1:02:03`, `4 d 7 h`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
