"""The distillation engine of the Qwen Distillation Lab.

Names are imported when they are first used, so that `import qdl_engine` costs milliseconds: the app and
`qdl --help` must not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdl_engine.compare import compare_models
    from qdl_engine.data.label import label_with_teacher
    from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
    from qdl_engine.distill import distill_system1, distill_system2
    from qdl_engine.easydistill.command import run_easy_distill
    from qdl_engine.easydistill.config import write_system1_config, write_system2_config
    from qdl_engine.errors import LabError
    from qdl_engine.lab import Lab
    from qdl_engine.models import infer_student, load_student, load_teacher
    from qdl_engine.prompts import format_prompt
    from qdl_engine.settings import LabSettings, System1Settings, System2Settings

__version__ = "0.1.0"

_HOMES = {
    "prepare_system1_dataset": "qdl_engine.data.prepare",
    "prepare_system2_dataset": "qdl_engine.data.prepare",
    "label_with_teacher": "qdl_engine.data.label",
    "write_system1_config": "qdl_engine.easydistill.config",
    "write_system2_config": "qdl_engine.easydistill.config",
    "run_easy_distill": "qdl_engine.easydistill.command",
    "distill_system1": "qdl_engine.distill",
    "distill_system2": "qdl_engine.distill",
    "compare_models": "qdl_engine.compare",
    "infer_student": "qdl_engine.models",
    "load_teacher": "qdl_engine.models",
    "load_student": "qdl_engine.models",
    "format_prompt": "qdl_engine.prompts",
    "Lab": "qdl_engine.lab",
    "LabError": "qdl_engine.errors",
    "LabSettings": "qdl_engine.settings",
    "System1Settings": "qdl_engine.settings",
    "System2Settings": "qdl_engine.settings",
}

__all__ = [
    "Lab",
    "LabError",
    "LabSettings",
    "System1Settings",
    "System2Settings",
    "__version__",
    "compare_models",
    "distill_system1",
    "distill_system2",
    "format_prompt",
    "infer_student",
    "label_with_teacher",
    "load_student",
    "load_teacher",
    "prepare_system1_dataset",
    "prepare_system2_dataset",
    "run_easy_distill",
    "write_system1_config",
    "write_system2_config",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
