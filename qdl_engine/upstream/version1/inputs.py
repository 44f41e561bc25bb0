"""The files that the unmodified EasyDistill 1.0 reads for one run: config, rows, launch file and student.

All of them are in the run's own directory: the lab's data files keep their two columns, and nothing is ever
written to the user's checkout. The student is a view that 1.0's transformers 4.51 reads correctly, without a
copy of its weights: files of transformers 5 mean something else there, or nothing. It ignores
`rope_parameters`, so that the model would silently rotate its positions by another base, and it has no class
`TokenizersBackend`. And 1.0 runs any code that it finds beside the weights.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.config.jobs import nearest
from qdl_engine.config.model import TrainConfig
from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.lab import read_json, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import format_completion
from qdl_engine.data.sources import read_file
from qdl_engine.runs.record import UPSTREAM_LAUNCH, UPSTREAM_OUTPUT
from qdl_engine.upstream.find import Interpreter

if TYPE_CHECKING:
    from qdl_engine.trainer.selection import RowCounts

_CHUNK = 1000
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_DATA = (".json", ".safetensors", ".jinja", ".txt", ".model")
"""Suffixes of data; code and pickles are never fetched or linked."""
_GENERIC_TOKENIZER = "PreTrainedTokenizerFast"
_REFUSED = {
    "packing": "It drops the mask, so that the prompt would be trained too.",
    "use_liger_kernel": "It drops the mask, so that the prompt would be trained too.",
    "padding_free": "It needs FlashAttention.",
}


@dataclass(frozen=True)
class Inputs:
    """Where the files of a run are, and what a person should know about them."""

    config: Path
    launch: Path
    output_dir: Path
    """Fresh for each run, so that no older checkpoint passes for its result."""
    counts: RowCounts
    precision: str
    notes: list[str] = field(default_factory=list)


def write_inputs(config: TrainConfig, interpreter: Interpreter, work: Path) -> Inputs:
    """Write everything that 1.0 reads into `work`.

    Raises:
        LabError: when 1.0 cannot do what the config asks for, the student is invalid, or no rows are left.
    """
    from qdl_engine.models.device import Device, choose_precision
    from qdl_engine.trainer.student import load_tokenizer

    check_for_1_0(config, interpreter)
    on_gpu = bool(interpreter.gpus)
    device = Device(
        "cuda" if on_gpu else "cpu", (interpreter.gpus or ("CPU",))[0], interpreter.bf16 or not on_gpu
    )
    precision, note = choose_precision(config.precision, device)
    student = student_directory(config.student)
    tokenizer = load_tokenizer(str(student), config.template)
    rows_file = work / "rows.jsonl"
    counts, joined = write_rows(config, tokenizer, rows_file)
    dropped = counts.dropped_in_words(config.max_length)
    if not counts.kept:
        raise DataError(f"No rows to train on in {config.labeled_path}", dropped or "The file is empty.")
    template, launch, output_dir = work / "template.jinja", work / UPSTREAM_LAUNCH, work / UPSTREAM_OUTPUT
    write_text_atomic(template, config.template.source())
    write_json_atomic(launch, launch_settings(len(interpreter.gpus), deepspeed=interpreter.deepspeed))
    view = make_student_view(student, work / "student")
    written = {
        "job_type": config.raw["job_type"],
        "dataset": {"labeled_path": str(rows_file), "template": str(template), "seed": config.seed},
        "models": {"student": str(view)},
        "training": _training(config, precision, on_gpu) | {"output_dir": str(output_dir)},
    }
    path = work / "config.json"
    write_json_atomic(path, written)
    not_trained = (
        f"In {joined:,} rows the answer's first letters share a token with the prompt's end: not trained."
    )
    notes = [text for text in (note, dropped, not_trained if joined else "") if text]
    return Inputs(path, launch, output_dir, counts, precision, notes)


def check_for_1_0(config: TrainConfig, interpreter: Interpreter) -> None:
    """Refuse what EasyDistill 1.0 cannot do, or would do wrongly, before anything is written.

    Raises:
        SettingsError: naming the key, and what to do instead.
    """
    builtin = "Use runtime.kind = builtin."
    if config.extras.lora.rank:
        raise SettingsError("EasyDistill 1.0 has no LoRA", f"Set lora_rank = 0. Or: {builtin}")
    for key, reason in _REFUSED.items():
        if config.training.get(key):
            raise SettingsError(f"training.{key} is not possible with EasyDistill 1.0", f"{reason} {builtin}")
    if config.training.get("eval_strategy", "no") not in ("no", False, None):
        # It would say "Training job terminated" and exit with 0.
        raise SettingsError(
            "EasyDistill 1.0 has no rows to evaluate on", f"Set training.eval_strategy = no. {builtin}"
        )
    known = interpreter.training_keys
    for key in config.training:
        if known and key not in known:
            raise SettingsError(
                f"training.{key} is unknown to EasyDistill 1.0's trl {interpreter.versions.get('trl', '')}",
                nearest(key, known) or builtin,
            )


@contextmanager
def plain_path(directory: Path) -> Iterator[Path]:
    """A path to `directory` in plain letters, valid inside the block.

    `datasets` reads a file's name as a pattern and as a chain of protocols: with `[`, `*`, `?` or `::` in a
    lab's path it would find no rows, or the wrong ones.
    """
    if _PLAIN.fullmatch(str(directory)):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="qdl-") as temporary:
        link = Path(temporary) / "run"
        link.symlink_to(directory)
        yield link


def _precision(training: dict[str, Any]) -> str:
    return "bf16" if training.get("bf16") else "fp16" if training.get("fp16") else "fp32"


def _training(config: TrainConfig, precision: str, on_gpu: bool) -> dict[str, Any]:
    decided = {
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "completion_only_loss": True,
        # The steps are read from the bars.
        "disable_tqdm": False,
        # Its default prints a diverged loss as 0.0.
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "seed": config.training.get("seed", config.seed),
    }
    if not on_gpu:
        decided |= {"gradient_checkpointing": False, "dataloader_pin_memory": False}
    return {**config.training, **decided}


def launch_settings(gpus: int, *, deepspeed: bool = False) -> dict[str, Any]:
    """The `accelerate launch` file for this hardware; 1.0's own asks for eight GPUs and DeepSpeed.

    Args:
        gpus: How many GPUs the interpreter's torch can use.
        deepspeed: Whether it has DeepSpeed, whose ZeRO 2 divides optimizer and gradients among the GPUs.
    """
    settings: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO",
        "machine_rank": 0,
        "main_training_function": "main",
        # The config's bf16 and fp16 decide.
        "mixed_precision": "no",
        "num_machines": 1,
        "num_processes": max(gpus, 1),
        "use_cpu": gpus == 0,
    }
    if gpus:
        settings["gpu_ids"] = "all"
    if gpus > 1:
        settings["distributed_type"] = "DEEPSPEED" if deepspeed else "MULTI_GPU"
        settings["rdzv_backend"] = "static"
        settings["same_network"] = True
    if gpus > 1 and deepspeed:
        settings["deepspeed_config"] = {"gradient_clipping": 1.0, "zero_stage": 2}
    return settings


def write_rows(config: TrainConfig, tokenizer: Any, path: Path) -> tuple[RowCounts, int]:
    """Write the rows that 1.0 trains: its own two columns, and `prompt` and `completion`.

    With these two, trl trains the completion only; without them it trains the question as well.

    Returns:
        The counts of kept and dropped rows, and in how many a token spans the end of the prompt.
    """
    from qdl_engine.trainer.rows import encode_texts
    from qdl_engine.trainer.selection import RowCounts, usable_rows

    counts, joined = RowCounts(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
        for chunk in _chunks(usable_rows(read_file(config.labeled_path), counts)):
            prompts = [config.template.prompt(instruction) for _, instruction, _ in chunk]
            completions = [format_completion(output) for _, _, output in chunk]
            wholes = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
            tokens = [encode_texts(tokenizer, texts) for texts in (prompts, completions, wholes)]
            for at, (_, instruction, output) in enumerate(chunk):
                apart = tokens[0][at] + tokens[1][at]
                if config.max_length is not None and len(apart) > config.max_length:
                    counts.too_long += 1
                    continue
                counts.kept += 1
                joined += apart != tokens[2][at]
                row = {"instruction": instruction, "output": output}
                row |= {"prompt": prompts[at], "completion": completions[at]}
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    return counts, joined


def _chunks(rows: Iterable[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
    left = iter(rows)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk


def student_directory(student: str) -> Path:
    """The student as a local directory, fetched from the hub (data, never code) where necessary.

    Raises:
        ModelError: when it is not a model, or neither cached nor reachable.
    """
    from qdl_engine.models.checkpoint import find_checkpoint, hub_reachable, load_error

    place = Path(find_checkpoint(student, "student"))
    if place.is_dir():
        return place
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    reachable = hub_reachable()
    try:
        found = snapshot_download(
            student, allow_patterns=[f"*{suffix}" for suffix in _DATA], local_files_only=not reachable
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise load_error(student, "student", error, reachable=reachable) from error
    return Path(find_checkpoint(found, "student"))


def make_student_view(source: Path, view: Path) -> Path:
    """Make `view` a checkpoint for transformers 4: links to the weights, and rewritten configs.

    Args:
        source: A checkpoint directory, written by transformers 4 or later.
        view: The directory to make; replaced where it exists.

    Returns:
        `view`.
    """
    shutil.rmtree(view, ignore_errors=True)
    view.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix in _DATA:
            (view / file.name).symlink_to(file.resolve())
    _rewrite(view / "config.json", model_config)
    _rewrite(view / "tokenizer_config.json", tokenizer_config)
    return view


def _rewrite(file: Path, change: Any) -> None:
    if not file.is_file():
        return
    value = read_json(file)
    file.unlink()
    write_json_atomic(file, change(value))


def model_config(config: dict[str, Any]) -> dict[str, Any]:
    """`config.json` with the keys of transformers 4."""
    old = {key: value for key, value in config.items() if key not in ("auto_map", "rope_parameters", "dtype")}
    if "dtype" in config:
        old.setdefault("torch_dtype", config["dtype"])
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in rope:
        old["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        old["rope_scaling"] = rope
    return old


def tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json` with the keys of transformers 4."""
    old = {key: value for key, value in config.items() if key not in ("auto_map", "backend", "is_local")}
    if old.get("tokenizer_class") == "TokenizersBackend":
        old["tokenizer_class"] = _GENERIC_TOKENIZER
    extra = old.get("extra_special_tokens")
    if isinstance(extra, list):
        del old["extra_special_tokens"]
        old["additional_special_tokens"] = [*(old.get("additional_special_tokens") or []), *extra]
    return old
