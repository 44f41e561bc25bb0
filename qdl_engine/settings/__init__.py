"""Every setting: default, bounds, unit and help. Forms, flags, validation and the README come from here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qdl_engine.core.systems import System
from qdl_engine.settings.base import Section, setting
from qdl_engine.settings.recipe import Fields, RecipeSettings, System1Settings, System2Settings
from qdl_engine.settings.teacher import TeacherSettings

__all__ = [
    "ComparisonSettings",
    "Fields",
    "LabSettings",
    "RecipeSettings",
    "RuntimeSettings",
    "Section",
    "System1Settings",
    "System2Settings",
    "TeacherSettings",
    "setting",
]


class RuntimeSettings(Section):
    """The program that trains from an EasyDistill config."""

    kind: Literal["builtin", "easydistill"] = setting(
        "builtin",
        "builtin trains 1.x configs on today's libraries; easydistill uses your own 1.0 checkout.",
        group="Runtime",
    )
    python: str = setting(
        "",
        "Interpreter of the runtime; empty is that of qdl, or that of the EasyDistill that was checked.",
        group="Runtime",
    )
    checkout: str = setting(
        "",
        "Checkout of EasyDistill 1.0, for kind = easydistill; empty is the one that was checked.",
        group="Runtime",
        kinds="easydistill",
    )
    launcher: Literal["python", "accelerate"] = setting(
        "python", "accelerate launch for several GPUs; python for one GPU or none.", group="Runtime"
    )
    threads: int = setting(
        0, "CPU threads of the trainer; 0 lets torch choose.", unit="threads", group="Runtime", ge=0, le=1024
    )


class ComparisonSettings(Section):
    """How teacher and students are compared."""

    max_new_tokens: int = setting(
        512, "Longest answer shown.", unit="tokens", group="Generation", ge=1, le=32768
    )
    temperature: float = setting(
        0.0, "0 is greedy: the same answer every time.", group="Generation", ge=0, le=2
    )
    teacher_mode: System = setting(
        "system1", "How the teacher is asked: with or without reasoning.", group="Generation"
    )


class LabSettings(Section):
    """The whole of `qdl.toml`."""

    teacher: TeacherSettings = Field(default_factory=TeacherSettings)
    system1: System1Settings = Field(default_factory=System1Settings)
    system2: System2Settings = Field(default_factory=System2Settings)
    runtime: RuntimeSettings = Field(default_factory=RuntimeSettings)
    comparison: ComparisonSettings = Field(default_factory=ComparisonSettings)

    def recipe(self, system: System) -> System1Settings | System2Settings:
        return self.system1 if system == "system1" else self.system2
