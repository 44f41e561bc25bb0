"""Every setting: default, bounds, unit and help. Forms, flags, validation and the README come from here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from qdl_engine.errors import SettingsError
from qdl_engine.prompts import SYSTEM_PROMPTS
from qdl_engine.teachers.address import ENVIRONMENT_NAME, server_url

System = Literal["system1", "system2"]
Fields = Literal["auto", "distilqwen", "omnithought", "alpaca", "qa", "messages", "mapping"]


def setting(
    default: Any, help_text: str, *, unit: str = "", group: str = "", kinds: str = "", **bounds: Any
) -> Any:
    """A pydantic field that carries what a form shows beside it.

    Args:
        default: The value, or what makes one.
        help_text: What the setting is for.
        unit: What it is counted in.
        group: Under which heading it stands.
        kinds: The values of its table's `kind` that use it, with spaces between; empty when all do.
        bounds: Limits as pydantic takes them.
    """
    extra: JsonDict = {"unit": unit, "group": group, "kinds": [*kinds.split()]}
    if callable(default):
        return Field(default_factory=default, description=help_text, json_schema_extra=extra, **bounds)
    return Field(default, description=help_text, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    """One table of `qdl.toml`. Unknown keys are refused, and every assignment is checked."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())


class TeacherSettings(Section):
    """The teacher: the model that labels and that the students are compared with."""

    kind: Literal["hf", "vllm", "server", "file"] = setting(
        "hf",
        "hf: here, on transformers. vllm: here, where it is installed. server: OpenAI-compatible. "
        "file: answers it gave before.",
        group="Model",
    )
    model: str = setting(
        "Qwen/Qwen2.5-7B-Instruct",
        "Hub id or local directory of the teacher; its name at a server (empty: the only one there).",
        group="Model",
        kinds="hf vllm server",
    )
    quantization: Literal["8bit", "4bit", "bf16", "none"] = setting(
        "8bit",
        "Weights in memory: 8bit needs about 9 GB for 7B, 4bit about 6 GB, bf16 15 GB; "
        "none: what the device does best.",
        group="Model",
        kinds="hf vllm",
    )
    batch_size: int = setting(
        16,
        "Prompts generated together. A T4 needs 16 or more to label 1,000 rows in an hour.",
        unit="prompts",
        group="Generation",
        kinds="hf",
        ge=1,
        le=1024,
    )
    max_new_tokens: int = setting(
        1024,
        "Longest answer. A longer one is cut, counted and by default dropped.",
        unit="tokens",
        group="Generation",
        kinds="hf vllm server",
        ge=1,
        le=32768,
    )
    temperature: float = setting(
        0.0,
        "0 is greedy: the same answer every time. Above 0 samples.",
        group="Generation",
        kinds="hf vllm server",
        ge=0.0,
        le=2.0,
    )
    keep_cut_answers: bool = setting(
        False,
        "Keep answers cut at max_new_tokens. They teach a student never to conclude.",
        group="Generation",
    )
    keep_refused_answers: bool = setting(
        True, "Keep answers that only say that they will not answer. They are counted.", group="Generation"
    )
    url: str = setting(
        "", "Address of the server, such as http://localhost:8000/v1.", group="Server", kinds="server"
    )
    api_key_env: str = setting(
        "",
        "Environment variable that holds the server's key. Never the key itself.",
        group="Server",
        kinds="server",
    )
    api_key_file: str = setting(
        "",
        "File that holds the server's key; only its owner may read it (chmod 600).",
        group="Server",
        kinds="server",
    )
    concurrency: int = setting(
        8,
        "Most requests at once. It starts at 2 and adapts: more while all goes well, half after trouble.",
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
        "Times a request is sent again after a full queue, a server error, a timeout or a lost connection.",
        unit="times",
        group="Server",
        kinds="server",
        ge=0,
        le=100,
    )
    budget_tokens: int = setting(
        0,
        "Most tokens that labelling may take at a server, prompts included; 0 is no limit.",
        unit="tokens",
        group="Budget",
        kinds="server",
        ge=0,
    )
    budget_money: float = setting(
        0.0,
        "Most money that labelling may take at a server, in the currency of the prices; 0 is no limit.",
        group="Budget",
        kinds="server",
        ge=0,
    )
    price_in: float = setting(0.0, "Price of a million prompt tokens.", group="Budget", kinds="server", ge=0)
    price_out: float = setting(
        0.0, "Price of a million generated tokens.", group="Budget", kinds="server", ge=0
    )
    answers: str = setting("", "File with the answers: JSON, JSONL or Parquet.", group="File", kinds="file")
    fields: str = setting(
        "auto",
        "Named schema of that file: auto, distilqwen, omnithought, alpaca, qa, messages, or mapping.",
        group="File",
        kinds="file",
    )
    mapping: dict[str, str] = setting(
        dict,
        "Its columns, when fields = mapping: instruction, and input, output, thought, answer if any.",
        group="File",
        kinds="file",
    )

    @property
    def place(self) -> str:
        """Where this teacher lives, in one word or two."""
        if self.kind == "server":
            return f"{self.model or 'the model'} at {self.url}"
        return self.answers if self.kind == "file" else self.model

    @model_validator(mode="after")
    def _names_can_be_used(self) -> TeacherSettings:
        if self.kind in ("hf", "vllm") and not self.model.strip():
            raise ValueError(f"model must not be empty when kind is {self.kind}")
        if self.api_key_env and not ENVIRONMENT_NAME.fullmatch(self.api_key_env):
            # Not quoted: it may be the key itself.
            raise ValueError("api_key_env is the name of an environment variable, never the key")
        if self.url:
            try:
                server_url(self.url)
            except SettingsError as refused:
                raise ValueError(f"{refused.message.removeprefix('teacher.')}. {refused.hint}") from refused
        return self


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
