"""A stranger's EasyDistill 1.x config, with what it names found: rows, template and models.

A relative path is taken from the config's own folder, or else from the current directory, where EasyDistill
itself looks. What is written goes where the rows were found.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qdl_engine.config.jobs import JobKind
from qdl_engine.config.model import EasyDistillConfig, read_any
from qdl_engine.config.template import PromptTemplate, parse_template, read_template
from qdl_engine.core.errors import DataError, ModelError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import training_template
from qdl_engine.models.outputs import check_checkpoint_place, check_output_file

STOCK_NAME: Final = "chat_template_kd.jinja"
STOCK_SYSTEM_PROMPT: Final = "You are a helpful assistant."
# What EasyDistill's stock template renders in use. In training it renders another blank line, and a stray "-"
# after the end token.
_STOCK = (
    f"<|im_start|>system\n{STOCK_SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n  <|im_start|>assistant\n",
)
_STOCK_NOTE = (
    "dataset.template is EasyDistill's stock one, which asks in other bytes in training than in use: ours "
    f"stands in for it, with the same system prompt ({STOCK_SYSTEM_PROMPT!r})."
)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class ForeignJob:
    """A config whose rows, template and models have been found; every path absolute."""

    config: EasyDistillConfig
    kind: JobKind
    rows: Path
    """What is read."""
    written: Path | None
    """What is written: labelled or generated rows; None for training alone."""
    template: PromptTemplate | None
    template_file: Path | None
    """The config's own template; None when ours stands in for the stock one, or when no template is used."""
    teacher: str
    student: str
    output_dir: Path | None
    notes: tuple[str, ...] = ()
    """What a person should know: what stands in for what."""

    @property
    def path(self) -> Path:
        """The config file."""
        return self.config.path

    @property
    def job_type(self) -> str:
        """EasyDistill's name of the job."""
        return self.config.job_type

    @property
    def trains(self) -> bool:
        """Whether the job ends with a student."""
        return self.kind in ("train", "label")

    @property
    def by_server(self) -> bool:
        """Whether the teacher answers over HTTP."""
        return self.job_type.endswith("_api")

    @property
    def seed(self) -> int:
        """The seed that the config names, or the default one."""
        for seed in (self.config.dataset.seed, self.config.inference.seed):
            if seed is not None:
                return seed
        return int(self.config.training.get("seed", 42))

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


def read_foreign(path: Path | str) -> ForeignJob:
    """Read a config and check all that can be checked before anything is started.

    Raises:
        SettingsError: for a job that cannot run, naming why, or a key that is not accepted, with the nearest.
        DataError: when its rows are not there; the message says where it looked.
        ModelError: when a model it names by a path is not there.
    """
    config, kind = read_any(path)
    trains = kind in ("train", "label")
    asks_locally = config.job_type.endswith(("_local", "_batch"))
    read_key = {"train": "labeled_path", "label": "instruction_path"}.get(kind, "input_path")
    written_key = {"train": "", "label": "labeled_path"}.get(kind, "output_path")
    places = list(dict.fromkeys([config.path.parent, Path.cwd()]))
    rows, base = _find_rows(config, f"dataset.{read_key}", places)
    places = list(dict.fromkeys([base, *places]))
    template = template_file = None
    notes: list[str] = []
    if trains or config.job_type.endswith("_batch"):
        template, template_file = _find_template(config, places)
        notes += [] if template_file else [_STOCK_NOTE]
    return ForeignJob(
        config=config,
        kind=kind,
        rows=rows,
        written=base / _path(config.text(f"dataset.{written_key}")) if written_key else None,
        template=template,
        template_file=template_file,
        teacher=_find_model(config, "models.teacher", places) if asks_locally else "",
        student=_find_model(config, "models.student", places) if trains else "",
        output_dir=base / _path(config.text("training.output_dir")) if trains else None,
        notes=tuple(notes),
    )


def _path(value: str) -> Path:
    return Path(os.path.expanduser(value))  # `Path` raises for a person who is not known here.


def _looked(places: list[Path]) -> str:
    return f"Looked in {' and in '.join(map(str, places))}."


def _find_rows(config: EasyDistillConfig, name: str, places: list[Path]) -> tuple[Path, Path]:
    """The rows, and the folder that the config's other relative paths are taken from."""
    given = _path(config.text(name))
    for place in places:
        if (place / given).is_file():
            return (place / given).absolute(), places[0] if given.is_absolute() else place.absolute()
    hint = "" if given.is_absolute() else f"{_looked(places)} The config's own folder goes first."
    raise DataError(f"{name} of {config.path.name} does not exist: {given}", hint)


def _find_template(config: EasyDistillConfig, places: list[Path]) -> tuple[PromptTemplate, Path | None]:
    """The template that a config means, and its file; no file when ours stands in for the stock one.

    The samples name the stock one by a path at which their own repository has nothing, so its name is enough.
    """
    given = _path(config.text("dataset.template"))
    found = next((place / given for place in places if (place / given).is_file()), None)
    if found is not None:
        template = read_template(found)
        if (template.prefix, template.suffix) != _STOCK:
            return template, found.absolute()
    elif given.name != STOCK_NAME:
        raise SettingsError(
            f"dataset.template of {config.path.name} does not exist: {given}",
            f"{_looked(places)} It is the Jinja file of the chat template. Copy yours there, or write "
            f'"{STOCK_NAME}", EasyDistill\'s stock template: qdl has its own copy of it.',
        )
    return parse_template(training_template(STOCK_SYSTEM_PROMPT)), None


def _find_model(config: EasyDistillConfig, name: str, places: list[Path]) -> str:
    """A local directory as an absolute path, or a hub id."""
    value = config.text(name)
    given = _path(value)
    of_config = f"{name} of {config.path.name}"
    for place in places:
        if (place / given / "config.json").is_file():
            return str((place / given).absolute())
        if (place / given).is_dir():
            raise ModelError(
                f"No model in {place / given} ({of_config})", "A model directory has a config.json."
            )
    if _HUB_ID.fullmatch(value) and not value.startswith("."):
        return value
    # The samples write "student/Qwen/Qwen2.5-0.5B-Instruct/": the hub's id in a folder of one's own.
    tail = "/".join(given.parts[-2:])
    likely = tail if _HUB_ID.fullmatch(tail) and len(given.parts) > 2 else "Qwen/Qwen2.5-0.5B-Instruct"
    raise ModelError(
        f"Model not found at {value} ({of_config})",
        f"{_looked(places)} Name a model directory, or a hub id: {likely}.",
    )
