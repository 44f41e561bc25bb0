"""What the app remembers of its user between two sessions: recent labs, the theme, the last run watched.

Kept as JSON with a version in the user's state directory, never in the lab: a lab is shared, a taste is not.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1
MOST_RECENT = 9


def state_directory() -> Path:
    """The user's state directory; XDG_STATE_HOME moves it."""
    from platformdirs import user_state_path

    return user_state_path("qdl")


def state_file() -> Path:
    return state_directory() / "app.json"


def log_file() -> Path:
    """The file for tracebacks, which no screen shows."""
    return state_directory() / "qdl-tui.log"


def copied_file() -> Path:
    """The file that holds the text copied last."""
    return state_directory() / "copied.txt"


@dataclass(frozen=True)
class CompareTaste:
    """How a person compares in one lab: which models take part (none: all), and whether names are hidden."""

    models: tuple[str, ...] = ()
    blind: bool = False

    @classmethod
    def read(cls, value: object) -> CompareTaste:
        """What is right in a value of the file."""
        found = _dict(value)
        models = tuple(str(name) for name in _list(found.get("models")))
        return cls(models, found.get("blind") is True)


@dataclass
class UserState:
    """Read once at start, saved at each change."""

    recent: list[str] = field(default_factory=list)
    theme: str = "qdl-dark"
    last_run: dict[str, str] = field(default_factory=dict)
    """Lab directory to the run last watched there."""
    splits: dict[str, list[float]] = field(default_factory=dict)
    """The sizes of panes that the user chose, as shares."""
    compare: dict[str, CompareTaste] = field(default_factory=dict)
    """Lab directory to how comparisons are shown there."""
    version: int = VERSION

    def remember_lab(self, root: Path) -> None:
        path = str(root)
        self.recent = [path, *(other for other in self.recent if other != path)][:MOST_RECENT]

    def remember_run(self, root: Path, run_id: str) -> None:
        self.last_run[str(root)] = run_id

    def save(self) -> None:
        """Write the state. Where the home is not writable, the app forgets it and does not fail."""
        from qdl_engine.core.lab import write_json_atomic

        try:
            write_json_atomic(state_file(), asdict(self))
        except OSError:
            return


def load_state() -> UserState:
    """The saved state, or a fresh one when it is absent, broken or of another version."""
    try:
        value = json.loads(state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return UserState()
    if not isinstance(value, dict) or value.get("version") != VERSION:
        return UserState()
    return UserState(
        recent=[item for item in _list(value.get("recent")) if isinstance(item, str)],
        theme=str(value.get("theme", "qdl-dark")),
        last_run={key: str(item) for key, item in _dict(value.get("last_run")).items()},
        compare={key: CompareTaste.read(item) for key, item in _dict(value.get("compare")).items()},
        splits={key: [*shares] for key, shares in _dict(value.get("splits")).items() if _are_shares(shares)},
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _are_shares(value: object) -> bool:
    """Whether it is a list of sizes; a file edited by hand must not bring a screen down."""
    return isinstance(value, list) and all(isinstance(share, int | float) and share > 0 for share in value)


def paths() -> dict[str, str]:
    """The files that `qdl-tui --paths` prints."""
    from qdl_engine.core.lab import user_settings_file

    return {
        "state": str(state_file()),
        "log": str(log_file()),
        "copied": str(copied_file()),
        "settings": str(user_settings_file()),
    }
