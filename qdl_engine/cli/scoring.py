"""`score`: a judge gives chains their Reasoning Verbosity and Cognitive Difficulty."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qdl_engine.cli.context import Context
from qdl_engine.cli.jobs import add_run_options, detach, progress_sink
from qdl_engine.cli.parser import Group
from qdl_engine.core.events import Outcome

_DESCRIPTION = """\
Ask a judge for the levels of chains that have none, so that the recipe's RV and CD filter can choose among
them. The judge is the lab's teacher; --set names another, such as --set teacher.model=Qwen/QwQ-32B. Without a
FILE the prepared chains of System 2 are scored. A killed scoring goes on at the row."""


def add_commands(group: Group) -> None:
    command = group.command("score", score, "let a judge give chains their RV and CD levels", _DESCRIPTION)
    command.add_argument("file", nargs="?", help="chains to score (default: the prepared ones)")
    command.add_argument(
        "--output", metavar="FILE", help="where they go (default: the lab's data/scored_chains.jsonl)"
    )
    command.add_argument("--everything", action="store_true", help="ask also where there are levels")
    add_run_options(command)


def score(context: Context, given: Namespace) -> int:
    from qdl_engine.label.score import score_chains

    lab, settings = context.open_lab(), context.settings()
    source = Path(given.file).expanduser().absolute() if given.file else None
    output = Path(given.output).expanduser().absolute() if given.output else None
    if given.detach:
        words = ["score", *([str(source)] if source else [])]
        words += ["--output", str(output)] if output else []
        words += ["--everything"] if given.everything else []
        return detach(context, given, words)
    with progress_sink(given) as sink:
        report = score_chains(
            lab, settings, source=source, output=output, everything=given.everything, on_event=sink
        )
        sink(Outcome(report.sentence()))
    relative = Path(report.output)
    relative = relative.relative_to(lab.root) if relative.is_relative_to(lab.root) else relative
    following = f"Next: qdl --lab {lab.word} config set system2.source={relative} system2.rv_min=..."
    context.emit(report.to_dict(), f"{report.table()}\n{following}")
    return 0
