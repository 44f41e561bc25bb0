"""A foreign config of a training job as one that the built-in runtime takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qdl_engine.data.fields import merge_input
from qdl_engine.data.files import array_file
from qdl_engine.data.sources import read_file
from qdl_engine.easydistill.imported.config import Imported
from qdl_engine.easydistill.jobs import TRAIN_ONLY
from qdl_engine.errors import DataError
from qdl_engine.lab import Lab, write_json_atomic, write_text_atomic
from qdl_engine.prompts import training_template


def write_training_config(job: Imported, lab: Lab, labeled: Path, path: Path) -> Path:
    """Write the config that the runtime trains from, and the template it names.

    Everything in `training` is kept as the user wrote it; paths become absolute, and a generation section,
    with the key it may hold, stays behind.

    Args:
        job: What was read.
        lab: Holds the template, when ours stands in for the config's.
        labeled: The labelled rows.
        path: Where to write.

    Returns:
        `path`.
    """
    assert job.template is not None and job.output_dir is not None
    template = job.template_file
    extras = dict(job.extras)
    if template is None:
        system_prompt = job.template.system_prompt or ""
        template = lab.configs / f"{path.stem}_template.jinja"
        write_text_atomic(template, training_template(system_prompt))
        extras |= {"system_prompt": system_prompt, "template_sha256": job.template.sha256}
    extras["data"] = {"path": str(labeled), "source": str(job.rows)}
    config: dict[str, Any] = {
        "job_type": TRAIN_ONLY,
        "dataset": {"labeled_path": str(labeled), "template": str(template), "seed": job.seed},
        "models": {"student": job.student},
        "training": job.training | {"output_dir": str(job.output_dir)},
        "qdl": extras,
    }
    write_json_atomic(path, config)
    return path


def rows_to_label(job: Imported, path: Path) -> int:
    """Write the instructions of a job that labels, as labelling takes them.

    EasyDistill reads `instruction` only and leaves an Alpaca `input` out; here it is part of the question.

    Returns:
        How many rows there are.

    Raises:
        DataError: when there is none.
    """
    count = _write(_merged(job.rows, with_output=False), path)
    if not count:
        raise DataError(f"No rows with an instruction in {job.rows}", "Each needs a text under instruction.")
    return count


def rows_to_train(job: Imported, path: Path) -> Path:
    """The labelled rows to train on: the config's own file, or a copy with every Alpaca `input` merged."""
    if not any(_has_input(row.value) for row in read_file(job.rows)):
        return job.rows
    _write(_merged(job.rows, with_output=True), path)
    return path


def _has_input(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("input"), str) and bool(row["input"].strip())


def _merged(path: Path, *, with_output: bool) -> Iterator[dict[str, Any]]:
    for row in read_file(path):
        value = row.value
        if not isinstance(value, dict) or not isinstance(value.get("instruction"), str):
            continue
        extra = value["input"] if _has_input(value) else ""
        merged: dict[str, Any] = {"instruction": merge_input(value["instruction"], extra)}
        if with_output:
            # The trainer drops and counts what is no text.
            merged["output"] = value.get("output")
        yield {"id": value["id"]} | merged if isinstance(value.get("id"), str) else merged


def _write(rows: Iterator[dict[str, Any]], path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with array_file(path) as handle:
        for row in rows:
            handle.write((",\n" if count else "") + json.dumps(row, ensure_ascii=False))
            count += 1
    return count
