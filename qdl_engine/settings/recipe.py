"""The `[system1]` and `[system2]` tables of `qdl.toml`: data, student and training of one student."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from qdl_engine.core.prompts import SYSTEM_PROMPTS
from qdl_engine.core.systems import System
from qdl_engine.settings.base import Section, setting

Fields = Literal["auto", "distilqwen", "omnithought", "alpaca", "qa", "messages", "mapping"]


MAPPING_KEYS = ("instruction", "input", "output", "thought", "answer", "rv", "cd", "verified")
"""What a mapping may name a column for."""


class RecipeSettings(Section):
    """What both recipes share: data, student and training of one student."""

    student: str = setting(
        "", "Hub id or local directory of the student to start from.", group="Student", min_length=1
    )
    source: str = setting(
        "", "Hub id of the data set, or a local JSON, JSONL or Parquet file.", group="Data", min_length=1
    )
    split: str = setting(
        "train", "Split of a hub data set. It is streamed, never downloaded whole.", group="Data"
    )
    fields: Fields = setting(
        "auto",
        "Named schema of the source; auto recognises it, mapping takes your own columns.",
        group="Data",
    )
    mapping: dict[str, str] = setting(
        dict,
        "Your own columns, when fields = mapping: instruction, and input, output, thought, answer if any.",
        group="Data",
    )
    rows: int = setting(1000, "Rows to keep after filtering.", unit="rows", group="Data", ge=1, le=10_000_000)
    seed: int = setting(42, "Seed of sampling and training.", group="Data", ge=0, le=2**31 - 1)
    max_length: int = setting(
        2048,
        "Longest prompt plus answer. Longer rows are dropped and counted, never cut.",
        unit="tokens",
        group="Data",
        ge=16,
        le=131072,
    )
    system_prompt: str = setting("", "System prompt, the same in training and in use.", group="Data")
    epochs: float = setting(1.0, "Passes over the data.", unit="epochs", group="Training", gt=0, le=1000)
    max_steps: int = setting(
        0, "Stop after this many steps; 0 trains all epochs.", unit="steps", group="Training", ge=0
    )
    learning_rate: float = setting(
        2e-5, "Peak learning rate. 2e-5 for full training, 2e-4 for LoRA.", group="Training", gt=0, le=1
    )
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"] = setting(
        "cosine", "How the learning rate falls after the warm-up.", group="Training"
    )
    warmup_ratio: float = setting(
        0.03, "Share of the steps spent warming up.", group="Training", ge=0, le=0.5
    )
    batch_size: int = setting(
        4, "Rows in one forward pass, per device.", unit="rows", group="Training", ge=1, le=1024
    )
    gradient_accumulation: int = setting(
        4,
        "Forward passes per optimizer step. Effective batch = batch_size x this x devices.",
        unit="passes",
        group="Training",
        ge=1,
        le=1024,
    )
    weight_decay: float = setting(0.0, "AdamW weight decay.", group="Training", ge=0, le=1)
    adam_beta2: float = setting(
        0.999, "AdamW beta2. 0.98 suits short runs on small models.", group="Training", ge=0.5, lt=1
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = setting(
        "auto", "auto: bf16 on Ampere and later, fp16 before, fp32 on a CPU.", group="Training"
    )
    gradient_checkpointing: bool = setting(
        True,
        "Recompute activations: slower by about a third, far less memory. Ignored on a CPU.",
        group="Training",
    )
    group_by_length: bool = setting(
        True, "Batch rows of like length together: up to twice as fast.", group="Training"
    )
    lora_rank: int = setting(
        0, "LoRA rank; 0 trains all weights. 1.5B needs LoRA on a 16 GB card.", group="LoRA", ge=0, le=1024
    )
    lora_alpha: int = setting(32, "LoRA scale.", group="LoRA", ge=1, le=4096)
    held_out: float = setting(
        0.05,
        "Share of the rows kept out of training to measure the held-out loss.",
        group="Evidence",
        ge=0,
        le=0.5,
    )
    eval_steps: int = setting(
        50, "Measure the held-out loss every so many steps.", unit="steps", group="Evidence", ge=1
    )
    logging_steps: int = setting(
        5, "Report the loss every so many steps.", unit="steps", group="Evidence", ge=1
    )
    save_steps: int = setting(
        200, "Write a checkpoint to resume from every so many steps.", unit="steps", group="Evidence", ge=1
    )
    save_total_limit: int = setting(
        2, "Checkpoints kept for resuming.", unit="checkpoints", group="Evidence", ge=1, le=100
    )

    @field_validator("mapping")
    @classmethod
    def _mapping_names_what_there_is(cls, mapping: dict[str, str]) -> dict[str, str]:
        for key in mapping:
            if key not in MAPPING_KEYS:
                raise ValueError(f"unknown key {key}")
        return mapping


class System1Settings(RecipeSettings):
    """System 1 answers at once."""

    student: str = setting(
        "Qwen/Qwen2.5-0.5B-Instruct",
        "Hub id or local directory of the System 1 student.",
        group="Student",
        min_length=1,
    )
    source: str = setting(
        "alibaba-pai/DistilQwen_100k",
        "Hub id of the data set, or a local JSON, JSONL or Parquet file.",
        group="Data",
        min_length=1,
    )
    label: bool = setting(
        False, "Let the teacher write the answers. DistilQwen_100k already has them.", group="Data"
    )
    label_mode: System = setting(
        "system1",
        "How the teacher is asked when it labels; system2 lets it reason, and the reasoning is stripped.",
        group="Data",
    )
    system_prompt: str = setting(
        SYSTEM_PROMPTS["system1"], "System prompt, the same in training and in use.", group="Data"
    )


class System2Settings(RecipeSettings):
    """System 2 reasons first, then answers."""

    student: str = setting(
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Hub id or local directory of the System 2 student.",
        group="Student",
        min_length=1,
    )
    source: str = setting(
        "alibaba-pai/OmniThought",
        "Hub id of the data set, or a local JSON, JSONL or Parquet file.",
        group="Data",
        min_length=1,
    )
    rows: int = setting(
        2000, "Chains to keep after filtering.", unit="chains", group="Data", ge=1, le=10_000_000
    )
    max_length: int = setting(
        4096,
        "Longest prompt plus chain. Longer rows are dropped: cut reasoning is poison.",
        unit="tokens",
        group="Data",
        ge=16,
        le=131072,
    )
    system_prompt: str = setting(
        SYSTEM_PROMPTS["system2"], "System prompt, the same in training and in use.", group="Data"
    )
    rv_min: int = setting(
        0,
        "Lowest Reasoning Verbosity kept (0 terse, 9 exhaustive).",
        unit="level",
        group="Filter",
        ge=0,
        le=9,
    )
    rv_max: int = setting(9, "Highest Reasoning Verbosity kept.", unit="level", group="Filter", ge=0, le=9)
    cd_min: int = setting(
        0,
        "Lowest Cognitive Difficulty kept (0 trivial, 9 graduate).",
        unit="level",
        group="Filter",
        ge=0,
        le=9,
    )
    cd_max: int = setting(9, "Highest Cognitive Difficulty kept.", unit="level", group="Filter", ge=0, le=9)
    require_verified: bool = setting(
        True, "Drop chains whose answer was checked and found wrong.", group="Filter"
    )
    batch_size: int = setting(
        1, "Rows in one forward pass, per device.", unit="rows", group="Training", ge=1, le=1024
    )
    gradient_accumulation: int = setting(
        16,
        "Forward passes per optimizer step. Effective batch = batch_size x this x devices.",
        unit="passes",
        group="Training",
        ge=1,
        le=1024,
    )

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> System2Settings:
        for low, high in (("rv_min", "rv_max"), ("cd_min", "cd_max")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not be above {high}")
        return self
