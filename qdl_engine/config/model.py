"""An EasyDistill 1.x config, ours or a stranger's: its sections, what each key takes, and how it is read.

No model library is imported here: the app shows configs as the recipe changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, create_model
from pydantic.fields import FieldInfo

from qdl_engine.config.jobs import JobKind, check_trains, job_kind, nearest
from qdl_engine.config.keys import OTHER_PROGRAMS, RECIPE, TRAINING, recipe_keys
from qdl_engine.config.template import PromptTemplate, read_template
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import read_json
from qdl_engine.core.systems import System

# Inputs are hidden because a stranger's config may hold a key.
_STRICT = ConfigDict(
    extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
)


class ConfigSection(BaseModel):
    """One object of a config. A field's description says in words what it takes."""

    model_config = _STRICT


class Dataset(ConfigSection):
    """The rows, and the template that asks for their answers."""

    instruction_path: str | None = None
    labeled_path: str | None = None
    input_path: str | None = None
    output_path: str | None = None
    template: str | None = None
    seed: int | None = Field(default=None, ge=0, description="a whole number of at least 0")
    logits_path: str | None = None
    num_in_context_samples: int | None = Field(default=None, ge=1, description="a whole number of at least 1")
    num_output_samples: int | None = Field(default=None, ge=1, description="a whole number of at least 1")


class Inference(ConfigSection):
    """The teacher, and how it answers. What has no effect here is not looked at."""

    base_url: str | None = None
    api_key: Any = Field(default=None, repr=False)
    """Of any type, because a message about a wrong one would show it."""
    stream: Any = None
    system_prompt: str | None = None
    prompt: str | None = None
    max_new_tokens: int | None = Field(default=None, ge=1, description="a whole number of at least 1")
    temperature: Any = None
    seed: int | None = Field(default=None, ge=0, description="a whole number of at least 0")
    enable_chunked_prefill: Any = None
    gpu_memory_utilization: Any = None
    trust_remote_code: Any = None
    enforce_eager: Any = None
    max_model_len: Any = None
    top_logits_num: Any = None


class Models(ConfigSection):
    """Directories of models, or hub ids."""

    teacher: str | None = None
    student: str | None = None
    reward: str | None = None


class LoraExtras(ConfigSection):
    """LoRA, which EasyDistill 1.0 does not have."""

    rank: int = Field(default=0, ge=0, le=1024, description="a whole number from 0 to 1024")
    alpha: int = Field(default=32, ge=1, le=4096, description="a whole number from 1 to 4096")


class Extras(ConfigSection):
    """The section `qdl`: what our trainer needs and EasyDistill 1.0 has no key for."""

    system: System | None = Field(default=None, description="system1 or system2")
    system_prompt: str | None = None
    template_sha256: str | None = None
    held_out: float = Field(default=0.0, ge=0, le=0.5, description="a number from 0 to 0.5")
    eval_steps: int = Field(default=50, ge=1, description="a whole number of at least 1")
    precision: Literal["auto", "fp32", "fp16", "bf16"] | None = Field(
        default=None, description="auto, fp32, fp16 or bf16"
    )
    """None leaves the decision to `training.bf16` and `training.fp16`."""
    lora: LoraExtras = Field(default_factory=LoraExtras)
    longest_first: bool = Field(default=False, description="true or false")
    """Train the longest rows first, so that memory runs out at once or never; by default the rows keep their
    order."""
    order: Literal["lab", "easydistill"] = Field(default="lab", description="lab or easydistill")
    """`easydistill` trains the rows in the order of EasyDistill 1.0 with the same seeds, step by step."""
    threads: int = Field(default=0, ge=0, description="a whole number of at least 0")
    data: dict[str, Any] = Field(default_factory=dict)
    """Where the rows came from: path, size and sha256 of the labelled file, and its source; `prepared` is
    true for a JSON array that the lab wrote itself."""


class EasyDistillConfig(ConfigSection):
    """A whole config, checked key by key; nothing it names has been looked for yet."""

    job_type: str
    dataset: Dataset = Field(default_factory=Dataset)
    inference: Inference = Field(default_factory=Inference)
    models: Models = Field(default_factory=Models)
    training: dict[str, Any] = Field(default_factory=dict)
    """As written, in EasyDistill's own keys: `keys.TRAINING` says what each is here."""
    distillation: dict[str, Any] = Field(default_factory=dict)
    qdl: Extras = Field(default_factory=Extras)

    _path: Path = PrivateAttr(default=Path("config"))

    @property
    def path(self) -> Path:
        """The file that the config was read from."""
        return self._path

    def text(self, name: str) -> str:
        """The text that a job needs under a key such as `dataset.labeled_path`.

        Raises:
            SettingsError: when it is missing or empty.
        """
        section, key = name.split(".")
        part = getattr(self, section)
        value = part.get(key) if isinstance(part, dict) else getattr(part, key)
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(f"{self.path}: {name} is missing", "It must be a text that is not empty.")
        return value


_VERSION_2: Final = frozenset({"backend", "generation", "cot", "sft", "pipeline", "preference", "eval"})
_VERSION_2_HINT = (
    "EasyDistill 2 makes data and does not train. Let the lab start it: "
    "qdl easydistill run instruct_distill|cot_distill|advanced_cot_distill|dpo_data_build. "
    "Or start it yourself, in its checkout: easydistill --config FILE"
)


def read_any(path: Path | str) -> tuple[EasyDistillConfig, JobKind]:
    """Read a config of any job that runs here, whoever wrote it.

    Raises:
        SettingsError: for a job that does not run here, or a key that is not accepted, with the nearest.
    """
    path = Path(path).expanduser().absolute()
    if path.suffix.lower() in (".yaml", ".yml"):
        raise SettingsError(f"{path}: EasyDistill 1.x configs are JSON; this looks like 2.x", _VERSION_2_HINT)
    raw = _object(read_json(path), path)
    kind = job_kind(raw.get("job_type"), str(path))
    return _checked(raw, path), kind


def _object(raw: Any, path: Path) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: a config is one JSON object")
    if _VERSION_2 & raw.keys():
        raise SettingsError(f"{path}: this is a config of EasyDistill 2", _VERSION_2_HINT)
    return raw


def _checked(raw: Mapping[str, Any], path: Path) -> EasyDistillConfig:
    try:
        config = EasyDistillConfig.model_validate(raw)
    except ValidationError as error:
        raise _refusal(error, path, EasyDistillConfig) from error
    check_training(config.training, path)
    config._path = path
    return config


def check_training(training: Mapping[str, Any], path: Path) -> None:
    """Refuse what SFTConfig would take, and what would then fail minutes later, or train nothing.

    Raises:
        SettingsError: naming the key, and what is accepted or the key that was meant.
    """
    try:
        _training_model().model_validate(training)
    except ValidationError as error:
        raise _refusal(error, path, _training_model(), ("training",)) from error


@cache
def _training_model() -> type[BaseModel]:
    """`keys.TRAINING` as pydantic checks it."""
    fields: dict[str, Any] = {
        name: (key.kind.type, Field(None, description=key.kind.accepted)) for name, key in TRAINING.items()
    }
    return create_model("Training", __config__=_STRICT, **fields)


def _refusal(
    error: ValidationError, path: Path, model: type[BaseModel], section: tuple[str, ...] = ()
) -> SettingsError:
    """The first problem that pydantic found: its key, what is accepted, and the key that was meant."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"]]
    key, value = ".".join([*section, *place]), problem["input"]
    owner, field = _field(model, place)
    if problem["type"] == "extra_forbidden":
        if key == place[-1]:
            return SettingsError(f"{path}: unknown section {key!r}", nearest(key, owner.model_fields))
        return SettingsError(f"{path}: {key}: unknown key", _meant(place[-1], owner))
    if problem["type"] in ("model_type", "dict_type"):
        return SettingsError(f"{path}: {key} must be an object; it is of type {type(value).__name__}")
    accepted = (field.description if field is not None else "") or "a text"
    hint = "Remove the quotes." if isinstance(value, str) and "number" in accepted else ""
    return SettingsError(f"{path}: {key} must be {accepted}, not {value!r}", hint)


def _field(model: type[BaseModel], place: Iterable[str]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The innermost object that a place in a config leads to, and the field there."""
    field = None
    for name in place:
        inner = field.annotation if field is not None else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
        field = model.model_fields.get(name)
    return model, field


def _meant(key: str, owner: type[BaseModel]) -> str:
    """The nearest key, one that has an effect first."""
    if owner is not _training_model():
        known = list(owner.model_fields)
        return nearest(key, known) or f"Known: {', '.join(known)}."
    if key in OTHER_PROGRAMS:
        return f"Did you mean {OTHER_PROGRAMS[key]}?"
    return nearest(key, [name for name, known in TRAINING.items() if not known.no_effect]) or nearest(
        key, TRAINING
    )


@dataclass(frozen=True)
class TrainConfig:
    """A config that trains, with what it names found; every path absolute."""

    path: Path
    labeled_path: Path
    template: PromptTemplate
    student: str
    output_dir: Path
    seed: int
    training: dict[str, Any]
    """`training` as written, in EasyDistill's own keys."""
    extras: Extras
    raw: dict[str, Any]

    def setting(self, name: str) -> Any:
        """What this config has for a recipe's setting such as `batch_size`, or else EasyDistill 1.0's own."""
        default = next(key.default for key in RECIPE.values() if key.setting == name)
        return self.training.get(recipe_keys(self.training).get(name, ""), default)

    @property
    def max_length(self) -> int | None:
        """The most tokens of a row; None for no limit."""
        longest: int | None = self.setting("max_length")
        return longest

    @property
    def precision(self) -> str:
        """The precision that the config asks for: auto, fp32, fp16 or bf16."""
        if self.extras.precision is not None:
            return self.extras.precision
        flag = next((name for name in ("bf16", "fp16") if self.training.get(name)), "")
        dtype = str(self.training.get("torch_dtype", "fp32")).removeprefix("torch.")
        return flag or _PRECISIONS.get(dtype, "fp32")


def read_config(path: Path | str) -> TrainConfig:
    """Read and check a config that trains, ours or any other of EasyDistill 1.x.

    Raises:
        SettingsError: naming the file and the key that cannot be accepted.
    """
    path = Path(path).expanduser().absolute()
    return check_config(read_json(path), path)


def check_config(raw: Any, path: Path) -> TrainConfig:
    """Check a config that is already in memory; `path` is what messages name.

    Raises:
        SettingsError: see `read_config`.
    """
    raw = _object(raw, path)
    check_trains(raw.get("job_type"), str(path))
    config = _checked(raw, path)
    template = read_template(_existing(config.text("dataset.template"), path))
    extras, training = config.qdl, config.training
    if extras.system_prompt is not None and template.system_prompt != extras.system_prompt:
        raise SettingsError(
            f"{path}: qdl.system_prompt is not the one that dataset.template renders",
            "Write the config again, so that training and use ask in the same words.",
        )
    seed = config.dataset.seed
    return TrainConfig(
        path=path,
        labeled_path=_existing(config.text("dataset.labeled_path"), path),
        template=template,
        student=config.text("models.student"),
        output_dir=Path(config.text("training.output_dir")).expanduser().absolute(),
        seed=training.get("seed", 42) if seed is None else seed,
        training=training,
        extras=extras,
        raw=raw,
    )


def _existing(value: str, path: Path) -> Path:
    """EasyDistill takes a relative path from where it is started; beside the config is the second guess."""
    given = Path(value).expanduser()
    beside = path.parent / given
    return beside.absolute() if not given.exists() and beside.exists() else given.absolute()


_PRECISIONS: Final = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"} | {
    name: name for name in ("fp32", "fp16", "bf16", "auto")
}
_SAMPLINGS = ("random", "group_by_length")
_HELD_OUT = "Set qdl.held_out to the share of rows to keep out, and qdl.eval_steps."


def check_builtin(training: Mapping[str, Any], path: Path) -> None:
    """Refuse what the built-in runtime cannot do, or what its libraries take and then fail on minutes later.

    Raises:
        SettingsError: naming the key, and what to do instead.
    """
    for message, hint in _impossible(training):
        raise SettingsError(f"{path}: training.{message}", hint)


def _impossible(training: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in training.items():
        if value and TRAINING[name].instead:
            yield f"{name} is not supported", TRAINING[name].instead
    if training.get("save_safetensors") is False:
        yield "save_safetensors must not be false", "Checkpoints are safetensors only."
    if training.get("bf16") and training.get("fp16"):
        yield "bf16 and training.fp16 cannot both be true", "Choose one."
    dtype = training.get("torch_dtype", "auto")
    if str(dtype).removeprefix("torch.") not in _PRECISIONS:
        yield f"torch_dtype: {dtype!r} is not a precision", "Use bfloat16, float16 or float32."
    for name in ("eval_strategy", "evaluation_strategy"):
        # EasyDistill 1.x never has rows to evaluate on; here the share of held-out rows decides.
        if training.get(name, "no") not in ("no", False, None):
            yield f"{name} must be 'no', not {training[name]!r}", _HELD_OUT
    sampling = training.get("train_sampling_strategy", "random")
    if sampling not in _SAMPLINGS:
        yield f"train_sampling_strategy must be one of {', '.join(_SAMPLINGS)}, not {sampling!r}", ""
    metric = training.get("metric_for_best_model")
    if metric not in (None, "loss", "eval_loss"):
        yield f"metric_for_best_model must be loss, not {metric!r}", "No other figure is measured here."
    for name in ("dataloader_persistent_workers", "dataloader_prefetch_factor"):
        if training.get(name) and not training.get("dataloader_num_workers"):
            yield (
                f"{name} is for workers, and training.dataloader_num_workers is 0",
                f"Set training.dataloader_num_workers to 1 or more, or leave {name} out.",
            )
    options = training.get("optim_args")
    if isinstance(options, str) and any(part.count("=") != 1 for part in options.split(",") if options):
        yield f"optim_args must be key=value pairs with commas between, not {options!r}", ""
