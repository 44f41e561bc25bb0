"""What every command gets: the lab, its settings, stdout for the result and stderr for messages."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli.streams import is_unicode
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
# Legal inside JSON strings, but a terminal acts on them.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Context:
    """The options that every command shares."""

    lab: Lab
    """Where the lab should be; `open_lab` checks that it is there."""
    overrides: tuple[str, ...]
    """The words of `--set` as typed, so that a run can be given the same."""
    as_json: bool = False

    def open_lab(self) -> Lab:
        """The lab.

        Raises:
            SettingsError: when there is none.
        """
        return Lab.open(self.lab.root)

    def settings(self) -> LabSettings:
        """The lab's settings with `--set` applied."""
        from qdl_engine.settings.toml import apply_overrides, load_settings

        settings = load_settings(self.open_lab())
        return apply_overrides(settings, self.overrides) if self.overrides else settings

    def emit(self, value: Any, text: str) -> None:
        """Print the result: `value` as one JSON document with `--json`, else `text`."""
        shown = dump_json(value, ascii_only=not is_unicode(sys.stdout)) if self.as_json else printable(text)
        if shown:
            sys.stdout.write(shown if shown.endswith("\n") else shown + "\n")

    def tell(self, text: str) -> None:
        """Print a message on stderr, apart from the result."""
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()


def dump_json(value: Any, *, ascii_only: bool = False) -> str:
    """Write strict JSON (no NaN) that is harmless on a terminal."""
    text = json.dumps(_plain(value), ensure_ascii=ascii_only, allow_nan=False, indent=1)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
