"""Presets: each one is accepted by the settings as it stands."""

from __future__ import annotations

import pytest

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings import LabSettings
from qdl_engine.settings.presets import PRESETS, apply_preset


@pytest.mark.parametrize("name", [preset.name for preset in PRESETS])
@pytest.mark.parametrize("system", ["system1", "system2"])
def test_every_preset_is_valid_and_touches_one_recipe(name: str, system: str) -> None:
    before = LabSettings()
    after = apply_preset(before, system, name)  # type: ignore[arg-type]
    other = "system2" if system == "system1" else "system1"
    assert getattr(after, other) == getattr(before, other)


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="CPU trial"):
        apply_preset(LabSettings(), "system1", "TPU")
