"""Make a lab on disk: what `qdl init` and the app's first screen write."""

from __future__ import annotations

from importlib import resources

from qdl_engine.errors import SettingsError
from qdl_engine.lab import Lab, write_text_atomic


def make_lab(lab: Lab) -> None:
    """Write a new lab at `lab.root`: directories, prompts to compare with, and `qdl.toml` last of all.

    Raises:
        SettingsError: when there is one already; nothing is overwritten.
    """
    from qdl_engine.toml import default_toml

    if lab.settings_file.exists():
        raise SettingsError(
            f"There is a lab at {lab.root} already", f"Look at it: qdl --lab {lab.word} status"
        )
    lab.create_directories()
    if not lab.sample_prompts.exists():
        prompts = resources.files("qdl_engine").joinpath("sample_prompts.txt").read_text(encoding="utf-8")
        write_text_atomic(lab.sample_prompts, prompts)
    write_text_atomic(lab.settings_file, default_toml())
