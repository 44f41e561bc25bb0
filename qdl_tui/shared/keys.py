"""What a key writes."""

from __future__ import annotations

from textual.keys import key_to_character

RENAMED = {"slash": "/", "backslash": "\\", "at": "@", "minus": "-", "plus": "+", "underscore": "_"}
"""Keys that Textual has short names for, and then knows no character of."""


def character_of(key: str) -> str | None:
    """The character of a key; None for a key that has none, or that has a modifier.

    >>> character_of("slash"), character_of("question_mark"), character_of("ctrl+q"), character_of("f5")
    ('/', '?', None, None)
    """
    return RENAMED.get(key) or key_to_character(key)
