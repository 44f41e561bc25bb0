"""`comparisons`, `vote`, `votes` and `prompts`: what was compared, what people thought of it, what to ask."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli.comparing import MODELS, answers_text
from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.words import one_line

if TYPE_CHECKING:
    from qdl_engine.compare.comparison import Comparison


def add_commands(group: Group) -> None:
    command = group.command(
        "comparisons",
        comparisons,
        "list the saved comparisons, or show or export one",
        "List the saved comparisons. With a NAME (or the beginning of one, or `latest`): show that one.",
    )
    command.add_argument("name", nargs="?", metavar="NAME", help="which one")
    command.add_argument("--prompt", type=int, metavar="N", help="only the Nth prompt, from 1")
    command.add_argument("--figures", action="store_true", help="only the figures, not the answers")
    command.add_argument(
        "--difference", metavar="A,B", help="mark what only one of two models wrote, such as system1,system2"
    )
    command.add_argument(
        "--export", metavar="FILE", action="append", default=[], help="write FILE.md or FILE.json; repeatable"
    )
    command = group.command("vote", vote, "vote on the answers to one prompt of a saved comparison")
    command.add_argument(
        "name", metavar="NAME", help="the comparison: its name, the beginning of it, or latest"
    )
    command.add_argument("prompt", type=int, metavar="N", help="which prompt, from 1")
    command.add_argument("best", metavar="BEST", help="teacher, system1, system2, tie, or bad (all are)")
    command = group.command("votes", votes, "show how often each model was voted the best")
    command.add_argument("--blind", action="store_true", help="only votes cast with the names hidden")
    command = group.command("prompts", prompts, "show the lab's sample prompts, or add one")
    command.add_argument("--add", metavar="PROMPT", help="add this one at the end of sample_prompts.txt")


def comparisons(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.comparison import find_comparison, load_comparison
    from qdl_engine.compare.export import export_comparison

    lab = context.open_lab()
    if given.name is None:
        if given.export or given.difference or given.prompt is not None:
            raise SettingsError(
                "Which comparison?", f"Give its name, or: qdl --lab {lab.word} comparisons latest"
            )
        return _list(context)
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
        parts.append(answers_text(shown))
    if not given.difference and not exported:
        parts.append(shown.table())
    parts += [f"Exported: {name}" for name in exported]
    context.emit(value, "\n\n".join(parts))
    return 0


def _only(comparison: Comparison, number: int) -> Comparison:
    """The same comparison with one prompt."""
    from dataclasses import replace

    if not 1 <= number <= len(comparison.prompts):
        raise SettingsError(f"No prompt {number}", f"There are {len(comparison.prompts)}, from 1.")
    models = {
        name: replace(model, answers=model.answers[number - 1 : number])
        for name, model in comparison.models.items()
    }
    return replace(comparison, prompts=[comparison.prompts[number - 1]], models=models)


def _list(context: Context) -> int:
    from qdl_engine.compare.comparison import list_comparisons, load_comparison

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
    """For each prompt both answered: what only one of the two wrote, in marks that any terminal shows."""
    from qdl_engine.compare.difference import marked, word_difference

    names = [name.strip() for name in pair.split(",")]
    if len(names) != 2 or any(name not in comparison.models for name in names):
        raise SettingsError(
            f"--difference: two models are wanted, not {pair!r}", f"Here: {', '.join(comparison.models)}."
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
    from dataclasses import asdict

    from qdl_engine.compare.comparison import find_comparison, load_comparison
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
    nobody = f"No votes yet. In qdl-tui: screen 6. Here: qdl --lab {lab.word} vote latest 1 {MODELS[1]}"
    words = (
        f"{scores_text(scores)}\n\n{len(cast)} votes, {blind} of them blind: {lab.votes}" if cast else nobody
    )
    value = {"votes": len(cast), "blind": blind, "scores": [score.to_dict() for score in scores]}
    context.emit({**value, "file": str(lab.votes)}, words)
    return 0


def prompts(context: Context, given: Namespace) -> int:
    from qdl_engine.compare.comparison import append_prompt, read_prompts

    lab = context.open_lab()
    if given.add is not None:
        append_prompt(lab.sample_prompts, given.add)
    known = read_prompts(lab.sample_prompts)
    lines = [f"{number:>3}  {one_line(prompt, 200)}" for number, prompt in enumerate(known, 1)]
    context.emit({"file": str(lab.sample_prompts), "prompts": known}, "\n".join(lines))
    if not context.as_json:
        context.tell(
            f"In the order of {lab.sample_prompts}. "
            "A comparison, and the app, which shows one, count its own prompts first."
        )
    return 0
