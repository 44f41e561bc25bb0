"""Recipes that fit a machine: a few settings each, and what they are for. Everything else stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qdl_engine.core.systems import System
from qdl_engine.settings import LabSettings


@dataclass(frozen=True)
class Preset:
    """Settings of both recipes that suit one kind of machine."""

    name: str
    purpose: str
    system1: Mapping[str, str]
    system2: Mapping[str, str]

    def texts(self, system: System) -> dict[str, str]:
        """Full keys and values as typed, for one recipe."""
        values = self.system1 if system == "system1" else self.system2
        return {f"{system}.{name}": text for name, text in values.items()}


FULL = {"lora_rank": "0", "learning_rate": "2e-5"}
LORA = {"lora_rank": "16", "lora_alpha": "32", "learning_rate": "2e-4"}


def _batches(rows: str, passes: str, *, checkpointing: str = "true") -> dict[str, str]:
    """Whole epochs in batches of 16 rows, cut so that they fit."""
    return {
        "batch_size": rows,
        "gradient_accumulation": passes,
        "max_steps": "0",
        "gradient_checkpointing": checkpointing,
    }


PRESETS = (
    Preset(
        "CPU trial",
        "A few steps on any machine: does the whole way work?",
        {
            "rows": "50", "max_length": "512", "max_steps": "20", "batch_size": "1",
            "gradient_accumulation": "2", "gradient_checkpointing": "false", **FULL,
        },
        {
            "rows": "50", "max_length": "1024", "max_steps": "20", "batch_size": "1",
            "gradient_accumulation": "2", "gradient_checkpointing": "false", **LORA,
        },
    ),
    Preset(
        "T4 16 GB",
        "One small card: 0.5B trained in full, 1.5B by LoRA.",
        _batches("4", "4") | FULL,
        _batches("1", "16") | LORA,
    ),
    Preset(
        "24 GB",
        "A 3090, 4090, A10 or L4: larger batches, 1.5B by LoRA.",
        _batches("8", "2") | FULL,
        _batches("2", "8") | LORA,
    ),
    Preset(
        "80 GB",
        "An A100 or H100: both students trained in full.",
        _batches("16", "1", checkpointing="false") | FULL,
        _batches("8", "2") | FULL,
    ),
)  # fmt: skip


def apply_preset(settings: LabSettings, system: System, name: str) -> LabSettings:
    """The settings with a preset laid over one recipe.

    Raises:
        SettingsError: when there is no such preset.
    """
    from qdl_engine.core.errors import SettingsError
    from qdl_engine.settings.toml import set_values

    found = next((preset for preset in PRESETS if preset.name == name), None)
    if found is None:
        raise SettingsError(
            f"No preset {name!r}", f"Presets: {', '.join(preset.name for preset in PRESETS)}."
        )
    return set_values(settings, found.texts(system))
