"""The two students that a lab makes: their keys in settings and files, and their names on the screen."""

from __future__ import annotations

from typing import Final, Literal

System = Literal["system1", "system2"]
"""`system1` answers at once; `system2` reasons first and then answers."""

SYSTEMS: Final[tuple[System, System]] = ("system1", "system2")
SYSTEM_NAMES: Final = {"system1": "System 1", "system2": "System 2"}
