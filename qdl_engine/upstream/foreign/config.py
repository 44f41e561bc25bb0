"""The numbers of a foreign config's `training`, held against the bounds of a recipe's settings.

The keys that EasyDistill 1.0 reads in each section of a config.

The template that EasyDistill 1.0's samples name, and what stands in for it.

Any EasyDistill 1.x config of a text job, read for what it asks for, whoever wrote it.

A relative path is taken from the config's own folder, or else from the current directory, where EasyDistill
itself looks. What is written goes where the rows were found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from qdl_engine.config.jobs import TRAIN_ONLY, check_job_type, nearest
from qdl_engine.config.keys import DROPPED, REFUSED_WHEN_TRUE, RENAMED, TRANSLATED
from qdl_engine.config.template import PromptTemplate, parse_template, read_template
from qdl_engine.core.errors import DataError, ModelError, SettingsError
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.core.prompts import training_template
from qdl_engine.models.outputs import check_checkpoint_place, check_output_file
from qdl_engine.settings import System1Settings

_SETTINGS = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "per_gpu_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "max_length": "max_length",
    "max_seq_length": "max_length",
}
_STEPS = ("save_steps", "logging_steps", "eval_steps", "max_steps")


def check_values(training: Mapping[str, Any], path: Path) -> None:
    """Refuse at once what would fail once the student is loaded.

    Raises:
        SettingsError: naming the key, its value and what is accepted.
    """
    for key, value in training.items():
        if (key in _SETTINGS or key in _STEPS) and (
            isinstance(value, bool) or not isinstance(value, int | float)
        ):
            raise SettingsError(f"{path}: training.{key} must be a number, not {value!r}")
        if key in _SETTINGS:
            try:
                System1Settings.model_validate({_SETTINGS[key]: value})
            except ValidationError as refused:
                raise SettingsError(
                    f"{path}: training.{key} = {value!r} is not accepted", refused.errors()[0]["msg"] + "."
                ) from refused


DATASET = (
    "instruction_path", "labeled_path", "input_path", "output_path", "template", "seed", "logits_path",
    "num_in_context_samples", "num_output_samples",
)  # fmt: skip

INFERENCE = (
    "base_url", "api_key", "stream", "system_prompt", "prompt", "max_new_tokens", "temperature", "seed",
    "enable_chunked_prefill", "gpu_memory_utilization", "trust_remote_code", "enforce_eager",
    "max_model_len", "top_logits_num",
)  # fmt: skip

MODELS = ("teacher", "student", "reward")

# What SFTConfig of trl 0.17 under transformers 4.51 takes, and today's as well.
_PASSED_ON = (
    "accelerator_config", "adam_beta1", "adam_beta2", "adam_epsilon", "average_tokens_across_devices",
    "batch_eval_metrics", "bf16", "bf16_full_eval", "data_seed", "dataloader_drop_last",
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory",
    "dataloader_prefetch_factor", "ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters",
    "ddp_timeout", "debug", "deepspeed", "eval_accumulation_steps", "eval_delay", "eval_do_concat_batches",
    "eval_steps", "eval_strategy", "eval_use_gather_object", "fp16", "fp16_full_eval", "fsdp", "fsdp_config",
    "full_determinism", "gradient_accumulation_steps", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "greater_is_better", "ignore_data_skip", "include_for_metrics",
    "include_num_input_tokens_seen", "label_names", "label_smoothing_factor", "learning_rate", "log_level",
    "log_level_replica", "log_on_each_node", "logging_first_step", "logging_nan_inf_filter", "logging_steps",
    "logging_strategy", "lr_scheduler_kwargs", "lr_scheduler_type", "max_grad_norm", "max_length",
    "max_steps", "metric_for_best_model", "neftune_noise_alpha", "num_train_epochs", "optim", "optim_args",
    "optim_target_modules", "output_dir", "per_device_eval_batch_size", "per_device_train_batch_size",
    "prediction_loss_only", "report_to", "restore_callback_states_from_checkpoint", "run_name",
    "save_on_each_node", "save_only_model", "save_steps", "save_strategy", "save_total_limit", "seed",
    "skip_memory_metrics", "tf32", "torch_compile", "torch_compile_backend", "torch_compile_mode",
    "torch_empty_cache_steps", "use_cpu", "warmup_steps", "weight_decay",
)  # fmt: skip

TRAINING = tuple(sorted({*_PASSED_ON, *RENAMED, *DROPPED, *REFUSED_WHEN_TRUE, *TRANSLATED}))
"""With what the trainer translates, drops with a note, or refuses in words of its own."""

SECTIONS = {"dataset": DATASET, "inference": INFERENCE, "models": MODELS, "training": TRAINING}


STOCK_NAME = "chat_template_kd.jinja"
STOCK_SYSTEM_PROMPT = "You are a helpful assistant."
# What it renders in use. In training it renders another blank line, and a stray "-" after the end token.
_STOCK_PREFIX = f"<|im_start|>system\n{STOCK_SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\n"
_STOCK_SUFFIX = "<|im_end|>\n  <|im_start|>assistant\n"
_NOTE = (
    "dataset.template is EasyDistill's stock one, which asks in other bytes in training than in use: ours "
    f"stands in for it, with the same system prompt ({STOCK_SYSTEM_PROMPT!r})."
)


def is_stock(template: PromptTemplate) -> bool:
    """Whether a template renders what the stock one renders, whatever its file is called."""
    return (template.prefix, template.suffix) == (_STOCK_PREFIX, _STOCK_SUFFIX)


def template_of(value: str, config: Path, base: Path, notes: list[str]) -> tuple[PromptTemplate, Path | None]:
    """The template that a config means, and its file; no file when ours stands in for the stock one.

    The samples name the stock one by a path at which their own repository has nothing, so its name is enough.

    Raises:
        SettingsError: when the file is not there, or renders no prompt.
    """
    given = Path(value).expanduser()
    folders = list(dict.fromkeys([base, config.parent, Path.cwd()]))
    found = next((folder / given for folder in folders if (folder / given).is_file()), None)
    if found is None and given.name != STOCK_NAME:
        looked = " and in ".join(map(str, folders))
        raise SettingsError(
            f"dataset.template of {config.name} is not there: {value}",
            f"Looked in {looked}. It is the Jinja file of the chat template. Copy yours there, or write "
            f'"{STOCK_NAME}", EasyDistill\'s stock one, which need not be there: ours stands in for it.',
        )
    template = None if found is None else read_template(found)
    if found is None or template is None or is_stock(template):
        notes.append(_NOTE)
        return parse_template(training_template(STOCK_SYSTEM_PROMPT)), None
    return template, found.absolute()


Kind = Literal["train", "label", "generate", "judge"]

LABELLING = ("kd_black_box_api", "kd_black_box_local")
GENERATING = tuple(
    f"{job}_{way}"
    for job in (
        "cot_generation", "cot_long2short", "cot_short2long",
        "instruction_expansion", "instruction_refinement", "instruction_response_extraction",
    )
    for way in ("api", "batch")
)  # fmt: skip
JUDGING = ("cot_eval_api",)
RUNNABLE = (TRAIN_ONLY, *LABELLING, *GENERATING, *JUDGING)

_NO_WHITE_BOX = (
    "This lab has no white-box distillation until it can store the teacher's logits. "
    f'Use "kd_black_box_local", or label first and use "{TRAIN_ONLY}".'
)
_VERSION_2_SECTIONS = frozenset({"backend", "generation", "cot", "sft", "pipeline", "preference", "eval"})
_VERSION_2_HINT = (
    "EasyDistill 2 makes data and does not train. Let the lab start it: "
    "qdl easydistill run instruct_distill|cot_distill|advanced_cot_distill|dpo_data_build. "
    "Or start it yourself, in its checkout: easydistill --config FILE"
)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Imported:
    """A config that has been read; every path absolute."""

    path: Path
    job_type: str
    kind: Kind
    base: Path
    """The folder that relative paths were taken from."""
    rows: Path
    """What is read."""
    written: Path | None
    """What is written: labelled or generated rows; None for training alone."""
    template: PromptTemplate | None
    template_file: Path | None
    """The config's own template; None when ours stands in for the stock one, or when there is none."""
    teacher: str
    student: str
    output_dir: Path | None
    seed: int
    dataset: dict[str, Any] = field(default_factory=dict)
    inference: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    """The section `qdl` of a config that a lab wrote."""
    notes: tuple[str, ...] = ()
    """What a person should know: what stands in for what, and what has no effect."""

    @property
    def trains(self) -> bool:
        return self.kind in ("train", "label")

    @property
    def by_server(self) -> bool:
        """Whether the teacher is asked over HTTP."""
        return self.job_type.endswith("_api")

    def check_outputs(self, lab: Lab) -> None:
        """Refuse outputs that would take the place of what the job reads, of the lab, or of anything else.

        Raises:
            SettingsError: naming the key and what is in the way.
        """
        kept = [self.path, self.rows, lab.settings_file, *filter(None, [self.template_file])]
        if self.written is not None:
            check_output_file(self.written, f"{self.path}: what is written", kept=kept)
            kept.append(self.written)
        if self.output_dir is not None:
            kept += [lab.root, Path(self.student).absolute()]
            check_checkpoint_place(self.output_dir, f"{self.path}: training.output_dir", kept=kept)


def read_foreign(path: Path | str) -> Imported:
    """Read a config and check all that can be checked before anything is started.

    Raises:
        SettingsError: for a job that cannot run, naming why, or a key that is not accepted, with the nearest.
        DataError: when its rows are not there; the message says where was looked.
        ModelError: when a model it names by a path is not there.
    """
    path = Path(path).expanduser().absolute()
    if path.suffix.lower() in (".yaml", ".yml"):
        raise SettingsError(f"{path}: EasyDistill 1.x configs are JSON; this looks like 2.x", _VERSION_2_HINT)
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: a config is one JSON object")
    if _VERSION_2_SECTIONS & raw.keys():
        raise SettingsError(f"{path}: this is a config of EasyDistill 2", _VERSION_2_HINT)
    job_type = raw.get("job_type")
    kind = _kind(job_type, path)
    sections = _sections(raw, path)
    return _resolved(path, str(job_type), kind, sections, dict(raw.get("qdl") or {}))


def _kind(job_type: object, path: Path) -> Kind:
    if isinstance(job_type, str) and job_type.startswith("kd_white_box"):
        raise SettingsError(f"{path}: job_type {job_type!r} does not run here", _NO_WHITE_BOX)
    if job_type == TRAIN_ONLY:
        return "train"
    if job_type in LABELLING:
        return "label"
    if job_type in GENERATING:
        return "generate"
    if job_type in JUDGING:
        return "judge"
    check_job_type(job_type, str(path), "does not run here")
    raise AssertionError("check_job_type accepts nothing else")


def _sections(raw: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    known = ("job_type", *SECTIONS, "distillation", "qdl")
    for name in raw:
        if name not in known:
            raise SettingsError(f"{path}: unknown section {name!r}", nearest(name, known))
    sections: dict[str, dict[str, Any]] = {}
    for name, keys in SECTIONS.items():
        value = raw.get(name, {})
        if not isinstance(value, dict):
            raise SettingsError(f"{path}: {name} must be an object, not {value!r}")
        for key in value:
            if key not in keys:
                hint = nearest(key, keys) or f"Known: {', '.join(keys[:12])} ..."
                raise SettingsError(f"{path}: {name}.{key}: unknown key", hint)
        sections[name] = dict(value)
    return sections


def _resolved(
    path: Path, job_type: str, kind: Kind, sections: dict[str, dict[str, Any]], extras: dict[str, Any]
) -> Imported:
    dataset, inference = sections["dataset"], sections["inference"]
    models, training = sections["models"], sections["training"]
    if kind in ("train", "label"):
        check_values(training, path)
    read_key = {"train": "labeled_path", "label": "instruction_path"}.get(kind, "input_path")
    rows, base = _find_rows(path, read_key, _text(dataset, "dataset", read_key, path))
    written_key = {"label": "labeled_path", "train": ""}.get(kind, "output_path")
    written = base / _path(dataset, written_key, path) if written_key else None
    notes: list[str] = []
    template = template_file = None
    if kind in ("train", "label") or job_type.endswith("_batch"):
        template, template_file = template_of(_text(dataset, "dataset", "template", path), path, base, notes)
    trains = kind in ("train", "label")
    teacher = ""
    if job_type.endswith(("_local", "_batch")):
        teacher = _model(_text(models, "models", "teacher", path), "models.teacher", path, base)
    return Imported(
        path=path,
        job_type=job_type,
        kind=kind,
        base=base,
        rows=rows,
        written=written,
        template=template,
        template_file=template_file,
        teacher=teacher,
        student=_model(_text(models, "models", "student", path), "models.student", path, base)
        if trains
        else "",
        output_dir=base / _path(training, "output_dir", path, "training") if trains else None,
        seed=_whole(dataset.get("seed", inference.get("seed", training.get("seed", 42))), path),
        dataset=dataset,
        inference=inference,
        training=training,
        extras=extras,
        notes=tuple(notes),
    )


def _text(section: Mapping[str, Any], name: str, key: str, path: Path) -> str:
    value = section.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{path}: {name}.{key} is missing", "It must be a text that is not empty.")
    return value


def _path(section: Mapping[str, Any], key: str, path: Path, name: str = "dataset") -> Path:
    return Path(_text(section, name, key, path)).expanduser()


def _whole(value: Any, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SettingsError(f"{path}: seed must be a whole number from 0, not {value!r}")
    return value


def places(path: Path) -> list[Path]:
    """Where the relative paths of a config are looked for, in this order."""
    return list(dict.fromkeys([path.parent, Path.cwd()]))


def _find_rows(path: Path, key: str, value: str) -> tuple[Path, Path]:
    """The rows, and the folder that the config's other relative paths are taken from."""
    given = Path(value).expanduser()
    if given.is_absolute():
        if given.is_file():
            return given, path.parent
        raise DataError(f"dataset.{key} of {path.name} is not there: {given}")
    for place in places(path):
        if (place / given).is_file():
            return (place / given).absolute(), place.absolute()
    raise DataError(
        f"dataset.{key} of {path.name} is not there: {given}",
        f"Looked in {' and in '.join(map(str, places(path)))}: the config's own folder goes first.",
    )


def _model(value: str, name: str, path: Path, base: Path) -> str:
    """A local directory as an absolute path, or a hub id."""
    given = Path(value).expanduser()
    for place in dict.fromkeys([base, *places(path)]):
        if (place / given / "config.json").is_file():
            return str((place / given).absolute())
        if (place / given).is_dir():
            raise ModelError(
                f"No model in {place / given} ({name} of {path.name})", "A model directory has a config.json."
            )
    if _HUB_ID.fullmatch(value) and not value.startswith("."):
        return value
    # The samples write "student/Qwen/Qwen2.5-0.5B-Instruct/": the hub's id in a folder of one's own.
    tail = "/".join(given.parts[-2:])
    likely = tail if _HUB_ID.fullmatch(tail) and len(given.parts) > 2 else "Qwen/Qwen2.5-0.5B-Instruct"
    raise ModelError(
        f"Model not found at {value} ({name} of {path.name})",
        f"Looked in {' and in '.join(map(str, places(path)))}. "
        f"Name a model directory, or a hub id: {likely}.",
    )
