"""Make a lab on disk, for the app's `n` and `d`: what `qdl init` and `qdl demo` write, no more."""

from __future__ import annotations

from qdl_engine.errors import SettingsError
from qdl_engine.lab import Lab, write_text_atomic


def create_lab(lab: Lab, *, demo: bool) -> None:
    """Write a new lab, or the demo lab, at `lab.root`.

    Raises:
        SettingsError: when there is one already; nothing is overwritten.
    """
    if lab.settings_file.exists():
        raise SettingsError(f"There is a lab at {lab.root} already", "Open it, or name another directory.")
    if demo:
        from qdl_engine.demo.lab import create_demo_lab

        create_demo_lab(lab.root)
        return
    from qdl_engine.toml import default_toml

    lab.create_directories()
    write_text_atomic(lab.settings_file, default_toml())
