"""What our trainer needs and EasyDistill 1.0 has no key for: a config's top-level `qdl`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qdl_engine.settings import System


class LoraExtras(BaseModel):
    """LoRA, which EasyDistill 1.0 does not have."""

    model_config = ConfigDict(extra="forbid")
    rank: int = Field(default=0, ge=0, le=1024)
    alpha: int = Field(default=32, ge=1, le=4096)


class Extras(BaseModel):
    """The section `qdl`, with what it means when it is absent."""

    model_config = ConfigDict(extra="forbid")
    system: System | None = None
    system_prompt: str | None = None
    template_sha256: str | None = None
    held_out: float = Field(default=0.0, ge=0, le=0.5)
    eval_steps: int = Field(default=50, ge=1)
    precision: Literal["auto", "fp32", "fp16", "bf16"] | None = None
    """None leaves the decision to `training.bf16` and `training.fp16`."""
    lora: LoraExtras = Field(default_factory=LoraExtras)
    longest_first: bool = False
    """Train the longest rows first, so that memory runs out at once or never; who does not ask keeps
    the order of the rows."""
    order: Literal["lab", "easydistill"] = "lab"
    """`easydistill` trains the rows in the order of EasyDistill 1.0 with the same seeds, step by step."""
    threads: int = Field(default=0, ge=0)
    data: dict[str, Any] = Field(default_factory=dict)
    """Where the rows came from: path, size and sha256 of the labelled file, and its source."""
