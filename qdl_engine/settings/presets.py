"""Presets: a few settings each that suit one kind of machine. Everything else in the recipe stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.systems import System
from qdl_engine.settings import LabSettings
from qdl_engine.settings.toml import set_values


@dataclass(frozen=True)
class Preset:
    """Settings of both systems for one kind of machine."""

    name: str
    purpose: str
    system1: Mapping[str, str]
    system2: Mapping[str, str]

    def texts(self, system: System) -> dict[str, str]:
        """The settings of one system: full keys, and values as a person types them."""
        values = self.system1 if system == "system1" else self.system2
        return {f"{system}.{name}": text for name, text in values.items()}


FULL = {"lora_rank": "0", "learning_rate": "2e-5"}
LORA = {"lora_rank": "16", "lora_alpha": "32", "learning_rate": "2e-4"}


def _batches(rows: str, passes: str, *, checkpointing: str = "true") -> dict[str, str]:
    """Whole epochs in batches of 16 rows, in as many passes as the memory needs."""
    return {
        "batch_size": rows,
        "gradient_accumulation": passes,
        "max_steps": "0",
        "gradient_checkpointing": checkpointing,
    }


PRESETS = (
    Preset(
        "CPU trial",
        "20 steps on any machine, to see that everything works.",
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
        "One small card: trains all of 0.5B, and 1.5B with LoRA.",
        _batches("4", "4") | FULL,
        _batches("1", "16") | LORA,
    ),
    Preset(
        "24 GB",
        "A 3090, 4090, A10 or L4: larger batches, 1.5B with LoRA.",
        _batches("8", "2") | FULL,
        _batches("2", "8") | LORA,
    ),
    Preset(
        "80 GB",
        "An A100 or H100: trains all weights of both students.",
        _batches("16", "1", checkpointing="false") | FULL,
        _batches("8", "2") | FULL,
    ),
)  # fmt: skip


def apply_preset(settings: LabSettings, system: System, name: str) -> LabSettings:
    """The settings with a preset applied to one system.

    Raises:
        SettingsError: when there is no such preset.
    """
    for preset in PRESETS:
        if preset.name == name:
            return set_values(settings, preset.texts(system))
    raise SettingsError(f"No preset {name!r}", f"Presets: {', '.join(preset.name for preset in PRESETS)}.")
