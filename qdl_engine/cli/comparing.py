"""`compare`: teacher and students side by side."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.errors import LabError, ModelError, SettingsError

if TYPE_CHECKING:
    from qdl_engine.compare.comparison import Comparison
    from qdl_engine.core.lab import Lab
    from qdl_engine.settings import LabSettings

MODELS = ("teacher", "system1", "system2")


def add_commands(group: Group) -> None:
    command = group.command("compare", compare, "ask teacher and students the same, and save the answers")
    command.add_argument("prompts", nargs="*", metavar="PROMPT", help="what to ask")
    command.add_argument(
        "--file", metavar="FILE", help="prompts from a file, one a line (default: the lab's)"
    )
    command.add_argument(
        "--only", metavar="NAMES", help="some of teacher,system1,system2 (default: all three)"
    )
    command.add_argument("--figures", action="store_true", help="only the figures, not the answers")
    command.add_argument(
        "--export",
        metavar="FILE",
        action="append",
        default=[],
        help="also write FILE.md or FILE.json; repeatable",
    )


def compare(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.comparison import UnsavedComparisonError, new_comparison_path, read_prompts
    from qdl_engine.compare.export import check_export, export_comparison

    lab, settings = context.open_lab(), context.settings()
    names = chosen_models(given.only)
    exports = [check_export(Path(name)) for name in given.export]
    prompts = list(given.prompts)
    if given.file or not prompts:
        prompts += read_prompts(Path(given.file).expanduser() if given.file else lab.sample_prompts)
    path = new_comparison_path(lab)
    unsaved: UnsavedComparisonError | None = None
    with ProgressLine() as progress:
        from qdl_engine.compare.compare import compare_models

        try:
            comparison = compare_models(
                prompts, save_to=path, on_event=progress, **model_arguments(lab, settings, names)
            )
        except UnsavedComparisonError as error:
            comparison, unsaved = error.comparison, error
        except BaseException:
            if path.exists():
                context.tell(f"Saved what was answered so far: {path}")
            raise
    if not comparison.models:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in comparison.skipped.items())
        raise ModelError("No model could answer", reasons)
    text = comparison.table() if given.figures else f"{answers_text(comparison)}\n\n{comparison.table()}"
    if unsaved is not None:
        # The answers took the time: they are shown, and the error after them.
        words = {"message": unsaved.message, "hint": unsaved.hint}
        context.emit({**comparison.to_dict(), "saved": None, "error": words}, text)
        if not context.as_json:
            context.tell(f"Error: {unsaved.message}\n{unsaved.hint}")
        return unsaved.exit_code
    exported = [str(export_comparison(comparison, export)) for export in exports]
    written = "\n".join([f"Saved: {path}", *(f"Exported: {export}" for export in exported)])
    value = {**comparison.to_dict(), "saved": str(path), "exported": exported}
    context.emit(value, f"{text}\n\n{written}")
    return 0


def chosen_models(only: str | None) -> list[str]:
    names = [name.strip() for name in only.split(",")] if only else list(MODELS)
    for name in names:
        if name not in MODELS:
            raise SettingsError(f"--only: no model {name!r}", f"Accepted: {', '.join(MODELS)}.")
    return names


def model_arguments(lab: Lab, settings: LabSettings, names: list[str]) -> dict[str, Any]:
    """What `compare_models` takes, from the lab's settings."""
    from qdl_engine.models.checkpoint import student_reference

    asking = settings.comparison
    paths: dict[str, str | Path] = {
        "teacher": student_reference(lab, settings.teacher.model),
        "system1": lab.system1_checkpoint,
        "system2": lab.system2_checkpoint,
    }
    models: dict[str, Any] = {f"{name}_path": paths[name] for name in names}
    if "teacher" in names and settings.teacher.kind != "hf":
        from qdl_engine.teachers.make import make_teacher

        del models["teacher_path"]
        try:
            models["teacher_model"] = make_teacher(settings.teacher, lab.root)
        except LabError as error:
            if not models:
                raise
            # As for one that cannot be loaded: the students answer.
            models["unusable"] = {"teacher": error}
    return {
        **models,
        "max_new_tokens": asking.max_new_tokens,
        "temperature": asking.temperature,
        "teacher_mode": asking.teacher_mode,
        "quantization": settings.teacher.quantization,
        "system_prompts": {
            "teacher": settings.recipe(asking.teacher_mode).system_prompt,
            "system1": settings.system1.system_prompt,
            "system2": settings.system2.system_prompt,
        },
    }


def answers_text(comparison: Comparison) -> str:
    """Every prompt with every model's answer; reasoning is set off by bars."""
    blocks = []
    for index, prompt in enumerate(comparison.prompts):
        lines = [f"=== {prompt}"]
        for name, answer in comparison.answers_to(index).items():
            cost = f"  ({answer.tokens} tokens, {answer.seconds:.1f} s)" if answer.tokens else ""
            lines.append(f"--- {name}{cost}")
            lines += [f"  | {line}" for line in answer.reasoning.splitlines()]
            lines.append(answer.shown)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
