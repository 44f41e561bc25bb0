"""Where the user's own settings are: apart from what reads them, which costs pydantic's 0.1 s."""

from __future__ import annotations

from pathlib import Path


def user_settings_file() -> Path:
    """The settings file of the user; XDG_CONFIG_HOME moves it."""
    from platformdirs import user_config_path

    return user_config_path("qdl") / "settings.toml"
