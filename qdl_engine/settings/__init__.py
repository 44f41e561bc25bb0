"""Every setting of `qdl.toml`: default, bounds, unit and help.

The form, `--set`, the checks and docs/settings.md are made from these models and nothing else.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.prompts import SYSTEM_PROMPTS
from qdl_engine.core.systems import System
from qdl_engine.settings.address import ENVIRONMENT_NAME, server_url


def setting(
    default: Any,
    help_text: str,
    *,
    unit: str = "",
    group: str = "",
    kinds: str = "",
    accepts: str = "",
    **bounds: Any,
) -> Any:
    """A pydantic field that carries what a form shows beside it.

    Args:
        default: The value, or a function that makes one.
        help_text: What the setting is for, in whole sentences.
        unit: The unit of a number.
        group: The heading that the form lists it under.
        kinds: The values of its table's `kind` that use it, separated by spaces; empty when all do.
        accepts: What it accepts, where type and bounds do not say it.
        bounds: Limits as pydantic takes them.
    """
    extra: JsonDict = {"unit": unit, "group": group, "kinds": [*kinds.split()], "accepts": accepts}
    if callable(default):
        return Field(default_factory=default, description=help_text, json_schema_extra=extra, **bounds)
    return Field(default, description=help_text, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    """One table of a settings file. It refuses unknown keys and checks every assignment."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _paths_are_text(cls, value: Any) -> Any:
        """A caller of the library has paths where `qdl.toml` has text."""
        return os.fspath(value) if isinstance(value, os.PathLike) else value


# The teacher ---------------------------------------------------------------------------------------------

Fields = Literal["auto", "distilqwen", "omnithought", "alpaca", "qa", "messages", "mapping"]
MAPPING_KEYS = ("instruction", "input", "output", "thought", "answer", "rv", "cd", "verified")
"""The fields of a row that a mapping can take from a column."""


def _mapping(help_text: str, **shown: Any) -> Any:
    accepts = 'columns by name, such as {instruction = "question", output = "answer"}'
    return setting(dict, help_text, accepts=accepts, **shown)


class TeacherSettings(Section):
    """The teacher: the model that labels, and that the students are compared with."""

    kind: Literal["hf", "vllm", "server", "file"] = setting(
        "hf",
        "hf runs the teacher here on transformers; vllm runs it here where vLLM is installed; server asks an "
        "OpenAI-compatible server; file reads answers from a file.",
        group="Model",
    )
    model: str = setting(
        "Qwen/Qwen2.5-7B-Instruct",
        "Hub id or local directory of the teacher, or its name at the server (empty: the only model there).",
        group="Model",
        kinds="hf vllm server",
    )
    quantization: Literal["8bit", "4bit", "bf16", "none"] = setting(
        "8bit",
        "Precision of the weights in memory. A 7B teacher takes about 9 GB in 8bit, 6 GB in 4bit and 15 GB "
        "in bf16; none uses what suits the device best.",
        group="Model",
        kinds="hf vllm",
    )
    batch_size: int = setting(
        16,
        "Prompts generated together. A T4 needs at least 16 to label 1,000 rows in an hour.",
        unit="prompts",
        group="Generation",
        kinds="hf",
        ge=1,
        le=1024,
    )
    max_new_tokens: int = setting(
        1024,
        "Longest answer. Longer answers are cut, counted and, by default, dropped.",
        unit="tokens",
        group="Generation",
        kinds="hf vllm server",
        ge=1,
        le=32768,
    )
    temperature: float = setting(
        0.0,
        "Sampling temperature. 0 is greedy: the same answer every time.",
        group="Generation",
        kinds="hf vllm server",
        ge=0.0,
        le=2.0,
    )
    keep_cut_answers: bool = setting(
        False,
        "Keep answers cut at max_new_tokens. A student trained on them learns never to finish.",
        group="Generation",
    )
    keep_refused_answers: bool = setting(
        True, "Keep answers in which the teacher only refuses. They are counted.", group="Generation"
    )
    url: str = setting(
        "", "Address of the server, such as http://localhost:8000/v1.", group="Server", kinds="server"
    )
    api_key_env: str = setting(
        "",
        "Environment variable that holds the server's key. Never write the key itself here.",
        group="Server",
        kinds="server",
    )
    api_key_file: str = setting(
        "",
        "File that holds the server's key. Only its owner may read it (chmod 600).",
        group="Server",
        kinds="server",
    )
    concurrency: int = setting(
        8,
        "Most requests at once. qdl starts with 2, adds more while all goes well, and halves after an error.",
        unit="requests",
        group="Server",
        kinds="server",
        ge=1,
        le=256,
    )
    timeout: float = setting(
        300.0, "Longest wait for one answer.", unit="seconds", group="Server", kinds="server", gt=0, le=86400
    )
    retries: int = setting(
        5,
        "How often to repeat a request after a full queue, a server error, a timeout or a lost connection.",
        unit="times",
        group="Server",
        kinds="server",
        ge=0,
        le=100,
    )
    budget_tokens: int = setting(
        0,
        "Most tokens that labelling may use at a server, prompts included; 0 means no limit.",
        unit="tokens",
        group="Budget",
        kinds="server",
        ge=0,
    )
    budget_money: float = setting(
        0.0,
        "Most money that labelling may cost at a server, in the currency of the prices; 0 means no limit.",
        group="Budget",
        kinds="server",
        ge=0,
    )
    price_in: float = setting(0.0, "Price of a million prompt tokens.", group="Budget", kinds="server", ge=0)
    price_out: float = setting(
        0.0, "Price of a million generated tokens.", group="Budget", kinds="server", ge=0
    )
    answers: str = setting("", "JSON, JSONL or Parquet file with the answers.", group="File", kinds="file")
    fields: str = setting(
        "auto",
        "Schema of that file: auto, distilqwen, omnithought, alpaca, qa, messages, or mapping.",
        group="File",
        kinds="file",
    )
    mapping: dict[str, str] = _mapping(
        "Columns of that file, for fields = mapping: instruction, and any of input, output, thought, answer.",
        group="File",
        kinds="file",
    )

    @property
    def place(self) -> str:
        """Where this teacher is, in one word or two."""
        if self.kind == "server":
            return f"{self.model or 'the model'} at {self.url}"
        return self.answers if self.kind == "file" else self.model

    @model_validator(mode="after")
    def _model_url_and_key_name_are_usable(self) -> TeacherSettings:
        if self.kind in ("hf", "vllm") and not self.model.strip():
            raise ValueError(f"model must not be empty when kind is {self.kind}")
        if self.api_key_env and not ENVIRONMENT_NAME.fullmatch(self.api_key_env):
            # The value is not quoted: it may be the key itself.
            raise ValueError("api_key_env is the name of an environment variable, never the key")
        if self.url:
            try:
                server_url(self.url)
            except SettingsError as refused:
                raise ValueError(f"{refused.message.removeprefix('teacher.')}. {refused.hint}") from refused
        return self


# The students --------------------------------------------------------------------------------------------
# A setting whose default differs between the two students has a function here, so that its help, unit and
# bounds are written once.


def _student(default: str) -> Any:
    return setting(default, "Hub id or local directory of the model to train.", group="Student", min_length=1)


def _source(default: str) -> Any:
    return setting(
        default, "Hub id of the data set, or a local JSON, JSONL or Parquet file.", group="Data", min_length=1
    )


def _rows(default: int, unit: str) -> Any:
    shown = f"{unit.capitalize()} to keep after filtering."
    return setting(default, shown, unit=unit, group="Data", ge=1, le=10_000_000)


def _max_length(default: int, help_text: str) -> Any:
    return setting(default, help_text, unit="tokens", group="Data", ge=16, le=131072)


def _system_prompt(default: str) -> Any:
    return setting(default, "System prompt, for training and for use.", group="Data")


def _batch_size(default: int) -> Any:
    return setting(
        default, "Rows per forward pass, per device.", unit="rows", group="Training", ge=1, le=1024
    )


def _gradient_accumulation(default: int) -> Any:
    return setting(
        default,
        "Forward passes per optimizer step. Effective batch = batch_size x this x devices.",
        unit="passes",
        group="Training",
        ge=1,
        le=1024,
    )


class RecipeSettings(Section):
    """Data, model and training of one student: the settings that both systems have."""

    student: str
    source: str
    split: str = setting(
        "train", "Split of a hub data set. It is streamed, never downloaded whole.", group="Data"
    )
    fields: Fields = setting(
        "auto",
        "Schema of the source; auto recognises it from the columns, mapping uses your own columns.",
        group="Data",
    )
    mapping: dict[str, str] = _mapping(
        "Your own columns, for fields = mapping: instruction, and any of input, output, thought, answer.",
        group="Data",
    )
    rows: int = _rows(1000, "rows")
    seed: int = setting(42, "Seed of sampling and training.", group="Data", ge=0, le=2**31 - 1)
    max_length: int = _max_length(
        2048, "Longest prompt plus answer. Longer rows are dropped and counted, never cut."
    )
    system_prompt: str = _system_prompt("")
    epochs: float = setting(1.0, "Passes over the data.", unit="epochs", group="Training", gt=0, le=1000)
    max_steps: int = setting(
        0, "Stop after this many steps; 0 trains all epochs.", unit="steps", group="Training", ge=0
    )
    learning_rate: float = setting(
        2e-5,
        "Peak learning rate. Use 2e-5 for full training, 2e-4 for LoRA.",
        group="Training",
        gt=0,
        le=1,
    )
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"] = setting(
        "cosine", "How the learning rate changes after the warm-up.", group="Training"
    )
    warmup_ratio: float = setting(
        0.03, "Share of the steps spent warming up.", group="Training", ge=0, le=0.5
    )
    batch_size: int = _batch_size(4)
    gradient_accumulation: int = _gradient_accumulation(4)
    weight_decay: float = setting(0.0, "AdamW weight decay.", group="Training", ge=0, le=1)
    adam_beta2: float = setting(
        0.999, "AdamW beta2. 0.98 suits short runs on small models.", group="Training", ge=0.5, lt=1
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = setting(
        "auto", "auto is bf16 on Ampere and later, fp16 on older GPUs, fp32 on a CPU.", group="Training"
    )
    gradient_checkpointing: bool = setting(
        True,
        "Recompute activations: about a third slower, far less memory. Ignored on a CPU.",
        group="Training",
    )
    group_by_length: bool = setting(
        True, "Batch rows of similar length together: up to twice as fast.", group="Training"
    )
    lora_rank: int = setting(
        0,
        "LoRA rank; 0 trains all weights. A 1.5B student needs LoRA on a 16 GB card.",
        group="LoRA",
        ge=0,
        le=1024,
    )
    lora_alpha: int = setting(32, "LoRA scale.", group="LoRA", ge=1, le=4096)
    held_out: float = setting(
        0.05,
        "Share of the rows held out of training to measure the held-out loss.",
        group="Evaluation and saving",
        ge=0,
        le=0.5,
    )
    eval_steps: int = setting(
        50,
        "Steps between two measurements of the held-out loss.",
        unit="steps",
        group="Evaluation and saving",
        ge=1,
    )
    logging_steps: int = setting(
        5, "Steps between two reports of the loss.", unit="steps", group="Evaluation and saving", ge=1
    )
    save_steps: int = setting(
        200,
        "Steps between two checkpoints that a run can resume from.",
        unit="steps",
        group="Evaluation and saving",
        ge=1,
    )
    save_total_limit: int = setting(
        2,
        "Checkpoints to keep for resuming.",
        unit="checkpoints",
        group="Evaluation and saving",
        ge=1,
        le=100,
    )

    @field_validator("mapping")
    @classmethod
    def _mapping_has_known_keys(cls, mapping: dict[str, str]) -> dict[str, str]:
        for key in mapping:
            if key not in MAPPING_KEYS:
                raise ValueError(f"unknown key {key}")
        return mapping


class System1Settings(RecipeSettings):
    """System 1 answers at once."""

    student: str = _student("Qwen/Qwen2.5-0.5B-Instruct")
    source: str = _source("alibaba-pai/DistilQwen_100k")
    label: bool = setting(
        False, "Let the teacher write the answers. DistilQwen_100k already has answers.", group="Data"
    )
    label_mode: System = setting(
        "system1",
        "How the teacher answers when it labels: system1 directly, system2 by reasoning, which is removed.",
        group="Data",
    )
    system_prompt: str = _system_prompt(SYSTEM_PROMPTS["system1"])


class System2Settings(RecipeSettings):
    """System 2 reasons first, then answers."""

    student: str = _student("Qwen/Qwen2.5-1.5B-Instruct")
    source: str = _source("alibaba-pai/OmniThought")
    rows: int = _rows(2000, "chains")
    max_length: int = _max_length(
        4096, "Longest prompt plus chain. Longer rows are dropped: cut reasoning is poison."
    )
    system_prompt: str = _system_prompt(SYSTEM_PROMPTS["system2"])
    rv_min: int = setting(
        0,
        "Lowest Reasoning Verbosity to keep (0 terse, 9 exhaustive).",
        unit="level",
        group="Filter",
        ge=0,
        le=9,
    )
    rv_max: int = setting(9, "Highest Reasoning Verbosity to keep.", unit="level", group="Filter", ge=0, le=9)
    cd_min: int = setting(
        0,
        "Lowest Cognitive Difficulty to keep (0 trivial, 9 graduate).",
        unit="level",
        group="Filter",
        ge=0,
        le=9,
    )
    cd_max: int = setting(
        9, "Highest Cognitive Difficulty to keep.", unit="level", group="Filter", ge=0, le=9
    )
    require_verified: bool = setting(
        True, "Drop chains whose answer was checked and found wrong.", group="Filter"
    )
    batch_size: int = _batch_size(1)
    gradient_accumulation: int = _gradient_accumulation(16)

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> System2Settings:
        for low in [name for name in type(self).model_fields if name.endswith("_min")]:
            high = f"{low.removesuffix('_min')}_max"
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not be above {high}")
        return self


# The rest ------------------------------------------------------------------------------------------------


class RuntimeSettings(Section):
    """The program that trains from an EasyDistill config."""

    kind: Literal["builtin", "easydistill"] = setting(
        "builtin",
        "builtin trains 1.x configs on today's libraries; easydistill uses your own checkout of 1.0.",
        group="Runtime",
    )
    python: str = setting(
        "",
        "Python interpreter of the runtime. Empty: qdl's own, or that of the checked EasyDistill.",
        group="Runtime",
    )
    checkout: str = setting(
        "",
        "Checkout of EasyDistill 1.0, for kind = easydistill. Empty: the one that was checked.",
        group="Runtime",
        kinds="easydistill",
    )
    launcher: Literal["python", "accelerate"] = setting(
        "python", "accelerate trains on several GPUs; python on one GPU or the CPU.", group="Runtime"
    )
    threads: int = setting(
        0, "CPU threads of the trainer; 0 lets torch choose.", unit="threads", group="Runtime", ge=0, le=1024
    )


class ComparisonSettings(Section):
    """How teacher and students are compared."""

    max_new_tokens: int = setting(512, "Longest answer.", unit="tokens", group="Generation", ge=1, le=32768)
    temperature: float = setting(
        0.0,
        "Sampling temperature. 0 is greedy: the same answer every time.",
        group="Generation",
        ge=0,
        le=2,
    )
    teacher_mode: System = setting(
        "system1",
        "How the teacher answers: system1 directly, system2 after reasoning.",
        group="Generation",
    )


class LabSettings(Section):
    """The whole of `qdl.toml`."""

    teacher: TeacherSettings = Field(default_factory=TeacherSettings)
    system1: System1Settings = Field(default_factory=System1Settings)
    system2: System2Settings = Field(default_factory=System2Settings)
    runtime: RuntimeSettings = Field(default_factory=RuntimeSettings)
    comparison: ComparisonSettings = Field(default_factory=ComparisonSettings)

    def recipe(self, system: System) -> System1Settings | System2Settings:
        """The table of one student."""
        return self.system1 if system == "system1" else self.system2
