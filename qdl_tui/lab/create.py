"""Make a lab on disk, for the app's `n` and `d`: what `qdl init` and `qdl demo` write, no more."""

from __future__ import annotations

from qdl_engine.core.lab import Lab


def create_lab(lab: Lab, *, demo: bool) -> None:
    """Write a new lab, or the demo lab, at `lab.root`.

    Raises:
        SettingsError: when there is one already; nothing is overwritten.
    """
    if demo:
        from qdl_engine.demo.lab import create_demo_lab

        create_demo_lab(lab.root)
    else:
        from qdl_engine.settings.toml import make_lab

        make_lab(lab)
