"""What the app remembers of its user between two sessions: recent labs, the theme, the last run watched.

Kept as JSON with a version in the user's state directory, never in the lab: a lab is shared, a taste is not.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

VERSION = 1
MOST_RECENT = 9


def state_directory() -> Path:
    """The user's state directory; XDG_STATE_HOME moves it."""
    from platformdirs import user_state_path

    return user_state_path("qdl")


def state_file() -> Path:
    return state_directory() / "app.json"


def log_file() -> Path:
    """Where a traceback goes that no person should have to read on the screen."""
    return state_directory() / "qdl-tui.log"


def copied_file() -> Path:
    """The file that holds the text copied last."""
    return state_directory() / "copied.txt"


@dataclass
class UserState:
    """Read once at start, saved at each change."""

    recent: list[str] = field(default_factory=list)
    theme: str = "qdl-dark"
    last_run: dict[str, str] = field(default_factory=dict)
    """Lab directory to the run last watched there."""
    version: int = VERSION

    def remember_lab(self, root: Path) -> None:
        path = str(root)
        self.recent = [path, *(other for other in self.recent if other != path)][:MOST_RECENT]

    def remember_run(self, root: Path, run_id: str) -> None:
        self.last_run[str(root)] = run_id

    def save(self) -> None:
        """Write the state. A home that cannot be written costs the memory, never the session."""
        from qdl_engine.lab import write_json_atomic

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
    recent = value.get("recent")
    last_run = value.get("last_run")
    return UserState(
        recent=[item for item in recent if isinstance(item, str)] if isinstance(recent, list) else [],
        theme=str(value.get("theme", "qdl-dark")),
        last_run={str(key): str(item) for key, item in last_run.items()}
        if isinstance(last_run, dict)
        else {},
    )


def paths() -> dict[str, str]:
    """What `qdl-tui --paths` prints: what is remembered, copied and configured, and where."""
    from qdl_engine.user_paths import user_settings_file

    return {
        "state": str(state_file()),
        "log": str(log_file()),
        "copied": str(copied_file()),
        "settings": str(user_settings_file()),
    }
