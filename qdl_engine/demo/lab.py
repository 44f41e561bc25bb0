"""Makes the demo lab on disk: settings, raw rows and prompts, in a second and without loading a model."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab, read_json, write_text_atomic
from qdl_engine.demo.world import (
    SYSTEM_PROMPTS,
    distilqwen_rows,
    exam,
    omnithought_rows,
    system1_samples,
    system2_samples,
    write_jsonl,
)
from qdl_engine.settings import (
    ComparisonSettings,
    LabSettings,
    RuntimeSettings,
    System1Settings,
    System2Settings,
    TeacherSettings,
)
from qdl_engine.settings.toml import save_settings

ASSETS: Final = Path(__file__).parent / "assets"
TEACHER: Final = ASSETS / "teacher"
BASE_STUDENT: Final = ASSETS / "student"
CHAINS: Final = ASSETS / "chains.json"

SYSTEM1_SOURCE: Final = "sources/system1.jsonl"
SYSTEM2_SOURCE: Final = "sources/system2.jsonl"
LONGEST_ANSWER: Final = 120
"""Tokens; the longest working has 80."""

_SYSTEM1_QUESTIONS: Final = 7_000
_SYSTEM2_CHAINS: Final = 4_000
_SEED: Final = 0
_PROMPT_NOTES: Final[Mapping[str, str]] = {
    "reverse": "both students learnt this: one answers at once, the other with its steps",
    "add": "needs steps: System 2 learnt to write them down, System 1 has to guess",
    "story": "the same in words",
    "two": "two steps, one after the other",
    "day": "counting days: System 1 has hardly seen any",
    "capital": "a fact: System 1 learns them; the difficulty filter removes them from System 2's data",
}
"""The tasks of the sample prompts, and what each shows; first one that both students learn."""

_TRAINING: Final[Mapping[str, Any]] = {
    "seed": _SEED,
    "max_length": 160,
    "learning_rate": 2e-3,
    "lr_scheduler": "cosine",
    "warmup_ratio": 0.05,
    "batch_size": 8,
    "gradient_accumulation": 1,
    "weight_decay": 0.05,
    "adam_beta2": 0.98,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "held_out": 0.02,
    "eval_steps": 500,
    "logging_steps": 20,
    "save_steps": 2_000,
    "save_total_limit": 1,
}


def create_demo_lab(directory: str | os.PathLike[str]) -> Lab:
    """Write a new demo lab: `qdl.toml`, the raw rows of both systems, and prompts to compare with.

    Raises:
        SettingsError: when the directory holds a lab already; nothing is overwritten.
        LabError: when the demo's files are missing from the installation.
    """
    lab = Lab.at(directory)
    if lab.settings_file.exists():
        raise SettingsError(f"There is a lab at {lab.root} already", "Name another directory for the demo.")
    if not CHAINS.exists():
        raise LabError(f"The demo's files are missing: {CHAINS}", "Install the package again.")
    lab.create_directories()
    chains = read_json(CHAINS)
    samples = system2_samples(len(chains["reasoned"]), chains["seed"])
    write_jsonl(lab.root / SYSTEM1_SOURCE, distilqwen_rows(system1_samples(_SYSTEM1_QUESTIONS, _SEED)))
    write_jsonl(lab.root / SYSTEM2_SOURCE, omnithought_rows(samples, chains["reasoned"], chains["direct"]))
    write_text_atomic(lab.sample_prompts, _sample_prompts())
    save_settings(lab, demo_settings())
    return lab


def demo_settings() -> LabSettings:
    """The demo's settings: models of a million weights need larger steps, and many more of them."""
    return LabSettings(
        teacher=TeacherSettings(
            model=str(TEACHER), quantization="none", batch_size=128, max_new_tokens=LONGEST_ANSWER
        ),
        system1=System1Settings(
            student=str(BASE_STUDENT),
            source=SYSTEM1_SOURCE,
            label=True,
            label_mode="system2",
            rows=_SYSTEM1_QUESTIONS,
            system_prompt=SYSTEM_PROMPTS["system1"],
            epochs=16,
            # Chosen on `dev`. Strong decay carries facts over to other wordings; at 0.4 sums suffer. At a
            # rate of 4e-3 sums are not learnt. Rows are short: a batch takes twice as many as System 2's.
            **{**_TRAINING, "learning_rate": 3e-3, "weight_decay": 0.35, "batch_size": 16},
        ),
        system2=System2Settings(
            student=str(BASE_STUDENT),
            source=SYSTEM2_SOURCE,
            rows=_SYSTEM2_CHAINS,
            system_prompt=SYSTEM_PROMPTS["system2"],
            rv_min=1,
            rv_max=4,
            cd_min=1,
            epochs=7,
            **_TRAINING,
        ),
        runtime=RuntimeSettings(threads=1),
        comparison=ComparisonSettings(max_new_tokens=LONGEST_ANSWER, teacher_mode="system2"),
    )


def _sample_prompts() -> str:
    """Held-out questions, which no student was trained on, and what they show."""
    lines = ["# One prompt a line. The demo's models know tasks like these, and nothing else."]
    for task, note in _PROMPT_NOTES.items():
        lines.append(f"# {note}")
        lines += [sample.question for sample in exam("test", 2, (task,), seed="prompts")]
    return "\n".join(lines) + "\n"
