"""`python -m qdl_engine.trainer --config X [--resume] [--events FILE]`.

Exit codes: 0 done, with a checkpoint that loads; 1 failed; 2 settings; 3 stopped, with one to resume from.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdl_engine.config.keys import RECIPE
from qdl_engine.config.model import TrainConfig, read_config
from qdl_engine.core.errors import LabError, from_system
from qdl_engine.core.events import Event, EventSink, Failed, Note, Progress, append_event, no_sink
from qdl_engine.core.stop import StopRequest
from qdl_engine.models.device import (
    Device,
    cure_of_a_full_memory,
    find_device,
    is_out_of_memory,
    keep_one_gpu,
    lora_settings,
)
from qdl_engine.settings import RecipeSettings

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qdl_engine.trainer", description="Train an EasyDistill 1.x config."
    )
    parser.add_argument(
        "--config", required=True, type=Path, help="EasyDistill 1.x JSON (kd_black_box_train_only)"
    )
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint")
    parser.add_argument(
        "--events", type=Path, default=os.environ.get("QDL_EVENTS"), help="append events to this file"
    )
    given = parser.parse_args(arguments)
    # It reports, as a failure, a kernel for four bits that no training uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    events = Path(given.events).absolute() if given.events else None
    sink = no_sink if events is None else _file_sink(events)
    return train(given.config, resume=given.resume, sink=sink)


def _file_sink(path: Path) -> EventSink:
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(event: Event) -> None:
        append_event(path, event)

    return write


def train(config_path: Path, *, resume: bool = False, sink: EventSink = no_sink) -> int:
    """Train, and turn whatever goes wrong into a `failed` event and an exit code."""
    with StopRequest().installed() as stop:
        try:
            return _train(config_path, resume, sink, stop)
        except LabError as error:
            return _fail(sink, error.message, error.hint, error.exit_code)
        except Exception as error:  # noqa: BLE001 - the outermost frame: all goes to a file
            known = from_system(error) if isinstance(error, OSError) else None
            if known is not None:  # A file of words would find the disk just as full.
                return _fail(sink, known.message, known.hint, known.exit_code)
            log = _write_traceback(config_path)
            cause = (str(error).strip().splitlines() or [""])[0]
            message = f"Training failed: {type(error).__name__}: {cause}"
            return _fail(sink, message, f"The traceback is in {log}", FAILED)


def _train(config_path: Path, resume: bool, sink: EventSink, stop: StopRequest) -> int:
    config = read_config(config_path)
    if os.environ.get("RANK", "0") == "0":
        sink(Progress(stage="load", done=0, unit="rows"))
    note = keep_one_gpu(os.environ)
    if note:
        sink(Note(note))
    # Only now the model libraries: a config that is refused must not cost their ten seconds.
    from qdl_engine.trainer.session import run_session

    try:
        return run_session(config, resume=resume, sink=sink, stop=stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        device = find_device()
        hint, settings = _more_room(config, device)
        place = "GPU memory" if device.is_gpu else "memory"
        return _fail(sink, f"Out of {place} on {device.name}", hint, FAILED, settings=settings)


def _more_room(config: TrainConfig, device: Device) -> tuple[str, dict[str, Any]]:
    """What a person should change, as a sentence and as settings."""
    needs = RecipeSettings.model_construct(
        batch_size=config.setting("batch_size"),
        gradient_accumulation=config.setting("gradient_accumulation"),
        gradient_checkpointing=bool(config.setting("gradient_checkpointing")),
        lora_rank=config.extras.lora.rank,
        max_length=config.max_length or RECIPE["max_length"].default,
    )
    changes = cure_of_a_full_memory(needs, on_gpu=device.is_gpu)
    hint = f"Set in [{config.extras.system or 'qdl.toml'}]: {_as_settings(changes, ', ')}."
    if not ("lora_rank" in changes or needs.lora_rank):
        hint += (
            f" If that is not enough: {_as_settings(lora_settings(), ' with ')}, which trains a small part."
        )
    return hint, changes


def _as_settings(changes: dict[str, Any], between: str) -> str:
    return between.join(f"{key} = {str(value).lower()}" for key, value in changes.items())


def _fail(sink: EventSink, message: str, hint: str, exit_code: int, **more: Any) -> int:
    if os.environ.get("RANK", "0") == "0":
        sink(Failed(message, hint, **more))
    print(f"{message}\n{hint}".rstrip(), file=sys.stderr, flush=True)
    return exit_code


def _write_traceback(config_path: Path) -> Path:
    """Into the run when there is one, else beside the config."""
    directory = Path(os.environ.get("QDL_RUN_DIR") or config_path.absolute().parent)
    log = directory / "traceback.log"
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(traceback.format_exc())
    return log


if __name__ == "__main__":
    sys.exit(main())
