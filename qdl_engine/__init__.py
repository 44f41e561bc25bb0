"""The distillation engine of the Qwen Distillation Lab.

Names are imported when they are first used, so that `import qdl_engine` costs milliseconds: the app and
`qdl --help` must not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdl_engine.compare.compare import compare_models
    from qdl_engine.config.write import write_system1_config, write_system2_config
    from qdl_engine.core.errors import LabError
    from qdl_engine.core.lab import Lab
    from qdl_engine.core.prompts import format_prompt
    from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
    from qdl_engine.label.label import label_with_teacher
    from qdl_engine.models.generate import infer_student
    from qdl_engine.models.load import load_student, load_teacher
    from qdl_engine.settings import LabSettings, System1Settings, System2Settings
    from qdl_engine.training.command import run_easy_distill
    from qdl_engine.training.distill import distill_system1, distill_system2

__version__ = "0.1.0"

_HOMES = {
    "prepare_system1_dataset": "qdl_engine.data.prepare",
    "prepare_system2_dataset": "qdl_engine.data.prepare",
    "label_with_teacher": "qdl_engine.label.label",
    "write_system1_config": "qdl_engine.config.write",
    "write_system2_config": "qdl_engine.config.write",
    "run_easy_distill": "qdl_engine.training.command",
    "distill_system1": "qdl_engine.training.distill",
    "distill_system2": "qdl_engine.training.distill",
    "compare_models": "qdl_engine.compare.compare",
    "infer_student": "qdl_engine.models.generate",
    "load_teacher": "qdl_engine.models.load",
    "load_student": "qdl_engine.models.load",
    "format_prompt": "qdl_engine.core.prompts",
    "Lab": "qdl_engine.core.lab",
    "LabError": "qdl_engine.core.errors",
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
