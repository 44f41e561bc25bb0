"""`compare`, `comparisons`, `vote`, `votes` and `prompts`: teacher and students side by side."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group, Parser
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.compare.comparison import (
    MODELS,
    UnsavedComparisonError,
    append_prompt,
    find_comparison,
    list_comparisons,
    load_comparison,
    new_comparison_path,
    read_prompts,
)
from qdl_engine.core.errors import LabError, ModelError, SettingsError
from qdl_engine.core.words import one_line

if TYPE_CHECKING:
    from qdl_engine.compare.comparison import Comparison
    from qdl_engine.core.lab import Lab
    from qdl_engine.settings import LabSettings


def add_commands(group: Group) -> None:
    """Add the five commands."""
    command = group.command("compare", compare, "ask teacher and students the same prompts, save the answers")
    command.add_argument("prompts", nargs="*", metavar="PROMPT", help="what to ask")
    command.add_argument(
        "--file",
        metavar="FILE",
        help="read prompts from a file, one a line (default: the lab's sample_prompts.txt)",
    )
    command.add_argument("--only", metavar="NAMES", help=f"some of {','.join(MODELS)} (default: all three)")
    _add_forms(command)
    command = group.command(
        "comparisons",
        comparisons,
        "list the saved comparisons, or show or export one",
        "List the saved comparisons. With a NAME (or the beginning of one, or `latest`), show that one.",
    )
    command.add_argument("name", nargs="?", metavar="NAME", help="which one")
    command.add_argument("--prompt", type=int, metavar="N", help="only the Nth prompt, counted from 1")
    command.add_argument(
        "--difference", metavar="A,B", help="mark where two models differ, such as system1,system2"
    )
    _add_forms(command)
    command = group.command("vote", vote, "vote for the best answer to a prompt of a saved comparison")
    command.add_argument(
        "name", metavar="NAME", help="the comparison: its name, the beginning of it, or latest"
    )
    command.add_argument("prompt", type=int, metavar="N", help="which prompt, counted from 1")
    command.add_argument("best", metavar="BEST", help=f"{', '.join(MODELS)}, tie, or bad (none is good)")
    command = group.command("votes", votes, "show how often each model was voted the best")
    command.add_argument("--blind", action="store_true", help="count only votes cast with hidden names")
    command = group.command("prompts", prompts, "show the lab's sample prompts, or add one")
    command.add_argument("--add", metavar="PROMPT", help="add this prompt to the end of sample_prompts.txt")


def _add_forms(command: Parser) -> None:
    command.add_argument("--figures", action="store_true", help="show only the figures, not the answers")
    command.add_argument(
        "--export",
        metavar="FILE",
        action="append",
        default=[],
        help="write FILE.md or FILE.json; repeatable",
    )


def compare(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.export import check_export, export_comparison

    lab, settings = context.open_lab(), context.settings()
    names = _chosen_models(given.only)
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
                prompts, save_to=path, on_event=progress, **_model_arguments(lab, settings, names)
            )
        except UnsavedComparisonError as error:
            comparison, unsaved = error.comparison, error
        except BaseException:
            if path.exists():
                context.tell(f"Saved the finished answers: {path}")
            raise
    if not comparison.models:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in comparison.skipped.items())
        raise ModelError("No model could answer", reasons)
    text = comparison.table() if given.figures else f"{_answers_text(comparison)}\n\n{comparison.table()}"
    if unsaved is not None:
        # The answers took time to make: show them, then the error.
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


def _chosen_models(only: str | None) -> list[str]:
    if not only:
        return [*MODELS]
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in MODELS:
            raise SettingsError(f"--only: no model {name!r}", f"Accepted: {', '.join(MODELS)}.")
    return names


def _model_arguments(lab: Lab, settings: LabSettings, names: list[str]) -> dict[str, Any]:
    """The arguments of `compare_models` that the lab's settings decide."""
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
            # Like a teacher that cannot be loaded: the students still answer.
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


def _answers_text(comparison: Comparison) -> str:
    """Every prompt with every model's answer; bars mark the reasoning."""
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


def comparisons(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.export import export_comparison

    lab = context.open_lab()
    if given.name is None:
        if given.export or given.difference or given.prompt is not None:
            raise SettingsError(
                "Which comparison?", f"Give its name, or: qdl --lab {lab.word} comparisons latest"
            )
        return _list_comparisons(context)
    path = find_comparison(lab, given.name)
    comparison = load_comparison(path)
    shown = comparison if given.prompt is None else _only(comparison, given.prompt)
    exported = [str(export_comparison(shown, Path(name))) for name in given.export]
    value: dict[str, Any] = {**shown.to_dict(), "saved": str(path), "exported": exported}
    parts = [f"{path.stem}  {comparison.created}"]
    if given.difference:
        differences = _differences(shown, given.difference)
        value["differences"] = differences
        parts += [f"=== {item['prompt']}\n{item['text']}" for item in differences]
    elif not given.figures and not exported:
        parts.append(_answers_text(shown))
    if not given.difference and not exported:
        parts.append(shown.table())
    parts += [f"Exported: {name}" for name in exported]
    context.emit(value, "\n\n".join(parts))
    return 0


def _only(comparison: Comparison, number: int) -> Comparison:
    """The same comparison with only its Nth prompt."""
    if not 1 <= number <= len(comparison.prompts):
        raise SettingsError(
            f"No prompt {number}", f"Its prompts are numbered from 1 to {len(comparison.prompts)}."
        )
    models = {
        name: replace(model, answers=model.answers[number - 1 : number])
        for name, model in comparison.models.items()
    }
    return replace(comparison, prompts=[comparison.prompts[number - 1]], models=models)


def _list_comparisons(context: Context) -> int:
    rows: list[dict[str, Any]] = []
    lines = []
    for path in list_comparisons(context.lab):
        try:
            comparison = load_comparison(path)
        except LabError as broken:
            rows.append({"name": path.stem, "path": str(path), "error": broken.message})
            lines.append(f"{path.stem:<20}{broken.message}")
            continue
        rows.append(
            {
                "name": path.stem,
                "path": str(path),
                "created": comparison.created,
                "models": list(comparison.models),
                "prompts": comparison.prompts,
            }
        )
        models = ", ".join(comparison.models)
        count = len(comparison.prompts)
        first = one_line(comparison.prompts[0], 40) if comparison.prompts else ""
        lines.append(f"{path.stem:<20}{count:>3} prompt{'s' if count != 1 else ' '}  {models}: {first}")
    context.emit(rows, "\n".join(lines) or f"No comparison yet: qdl --lab {context.lab.word} compare")
    return 0


def _differences(comparison: Comparison, pair: str) -> list[dict[str, Any]]:
    """For each prompt that both models answered: what only one of them wrote, in plain characters."""
    from qdl_engine.compare.difference import marked, word_difference

    names = [name.strip() for name in pair.split(",")]
    if len(names) != 2 or any(name not in comparison.models for name in names):
        raise SettingsError(
            f"--difference: {pair!r} does not name two models of this comparison",
            f"It has: {', '.join(comparison.models)}.",
        )
    one, other = names
    found = []
    for index, prompt in enumerate(comparison.prompts):
        answers = comparison.answers_to(index)
        if one not in answers or other not in answers:
            continue
        texts = answers[one].shown, answers[other].shown
        difference = word_difference(*texts)
        if difference.same:
            text = f"both: {texts[0]}"
        else:
            text = (
                f"--- {one}\n{marked(texts[0], difference.one, '[-', '-]')}\n"
                f"--- {other}\n{marked(texts[1], difference.other, '{+', '+}')}"
            )
        found.append({"prompt": prompt, "same": difference.same, "text": text})
    return found


def vote(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.votes import append_vote, make_vote, replaced_by

    lab = context.open_lab()
    path = find_comparison(lab, given.name)
    cast = make_vote(load_comparison(path), path.stem, given.prompt - 1, given.best)
    old = replaced_by(lab, cast)
    append_vote(lab, cast)
    instead = "" if old is None else f", in place of your {'blind ' if old.blind else ''}vote for {old.best}"
    context.emit(
        {**asdict(cast), "replaced": None if old is None else asdict(old)},
        f"Voted on {path.stem}, prompt {given.prompt}: {given.best}{instead}\n"
        f"Scores: qdl --lab {lab.word} votes",
    )
    return 0


def votes(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.votes import read_votes, scores_text, vote_scores

    lab = context.open_lab()
    cast = [item for item in read_votes(lab) if item.blind or not given.blind]
    scores = vote_scores(cast)
    blind = sum(item.blind for item in cast)
    none_yet = (
        f"No votes yet. Vote on screen 6 of qdl-tui, or here: qdl --lab {lab.word} vote latest 1 {MODELS[1]}"
    )
    words = (
        f"{scores_text(scores)}\n\n{len(cast)} votes, {blind} of them blind: {lab.votes}"
        if cast
        else none_yet
    )
    value = {"votes": len(cast), "blind": blind, "scores": [score.to_dict() for score in scores]}
    context.emit({**value, "file": str(lab.votes)}, words)
    return 0


def prompts(context: Context, given: Namespace) -> int:
    lab = context.open_lab()
    if given.add is not None:
        append_prompt(lab.sample_prompts, given.add)
    known = read_prompts(lab.sample_prompts)
    lines = [f"{number:>3}  {one_line(prompt, 200)}" for number, prompt in enumerate(known, 1)]
    context.emit({"file": str(lab.sample_prompts), "prompts": known}, "\n".join(lines))
    if not context.as_json:
        context.tell(
            f"In the order of {lab.sample_prompts}. A saved comparison, and the app that shows it, number "
            "the comparison's own prompts first."
        )
    return 0
