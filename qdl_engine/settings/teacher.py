"""The `[teacher]` table of `qdl.toml`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings.address import ENVIRONMENT_NAME, server_url
from qdl_engine.settings.base import Section, setting


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
