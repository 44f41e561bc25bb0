"""`init`, `status`, `config`, `doctor`, `preflight` and `demo`: the lab, its settings and its machine."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli import run_config
from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEMS
from qdl_engine.core.words import one_line
from qdl_engine.demo import DEMO_DIRECTORY

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings


def add_commands(group: Group) -> None:
    """Add the commands that make a lab, show it and change its settings."""
    command = group.command("init", init, "make a lab: a directory with a qdl.toml")
    command.add_argument("directory", nargs="?", help="where (default: --lab)")
    group.command("status", status, "show what is ready in the lab and what to do next")
    config = group.group("config", "show, check or change the settings")
    show = config.command("show", config_show, "show the settings in force")
    show.add_argument("keys", nargs="*", metavar="KEY", help="only these, such as system1 or system1.rows")
    validate = config.command("validate", config_validate, "check a settings file")
    validate.add_argument("file", nargs="?", help="which file (default: the lab's qdl.toml)")
    change = config.command("set", config_set, "change settings in the lab's qdl.toml")
    change.add_argument("changes", nargs="+", metavar="KEY=VALUE")
    run_config.add_import(config)
    command = group.command(
        "doctor", doctor, "check versions, GPU, EasyDistill, disk and hub, and say what is missing"
    )
    command.add_argument("--offline", action="store_true", help="do not contact the hub")
    command = group.command(
        "preflight",
        preflight,
        "predict the memory, time and disk of a training before it starts",
        "Predict from the model's config.json, the recipe and the prepared rows whether a training fits, how "
        "long it takes and which parameters it trains. The exit code is 0 when it fits, 1 when it does not.",
    )
    command.add_argument("system", choices=SYSTEMS)
    command.add_argument(
        "--device",
        default="",
        metavar="NAME",
        help="predict for another device: T4, V100, A10, L4, 3090, 4090, L40S, A100-40, A100-80, H100, "
        "H200 or cpu (default: this machine's)",
    )
    command.add_argument("--offline", action="store_true", help="do not contact the hub")
    command = group.command(
        "demo", demo, "distil a tiny teacher into both students in minutes, without a network or a GPU"
    )
    command.add_argument("directory", nargs="?", help=f"where its lab goes (default: ./{DEMO_DIRECTORY})")


def init(context: Context, given: Namespace) -> int:
    from qdl_engine.lab_state.status import lab_status, step_text
    from qdl_engine.settings.toml import apply_overrides, load_settings, make_lab, save_settings

    lab = Lab.at(given.directory) if given.directory else context.lab
    if lab.settings_file.exists():
        raise LabError(f"There is a lab at {lab.root} already", f"Look at it: qdl --lab {lab.word} status")
    settings = None
    if context.overrides:
        from qdl_engine.settings import LabSettings

        settings = apply_overrides(LabSettings(), context.overrides)
    make_lab(lab)
    if settings is not None:
        save_settings(lab, settings)
    load_settings(lab)
    # The next step of `qdl status`, so that both commands say the same.
    step = lab_status(lab).next_step
    following = "" if step is None else f"\n{step_text(lab, step)}"
    context.emit(
        {"lab": str(lab.root), "settings": str(lab.settings_file)},
        f"Made a lab. Its settings: {lab.settings_file}{following}",
    )
    return 0


def status(context: Context, given: Namespace) -> int:
    from qdl_engine.lab_state.status import lab_status, report_text

    found = lab_status(context.open_lab())
    context.emit(found.to_dict(), report_text(found))
    return 0


def config_show(context: Context, given: Namespace) -> int:
    from qdl_engine.settings.fields import all_fields

    settings = context.settings()
    values: dict[str, Any] = settings.model_dump()
    wanted = _wanted_keys(settings, given.keys)
    lines, shown = [], {}
    for section in values:
        infos = [info for info in all_fields(section) if info.key in wanted]
        if not infos:
            continue
        shown[section] = {info.name: values[section][info.name] for info in infos}
        lines.append(f"[{section}]")
        for info in infos:
            value = values[section][info.name]
            changed = "" if value == info.default else f"  (default: {one_line(_toml(info.default), 40)})"
            lines.append(f"{info.name} = {_toml(value)}{changed}")
        lines.append("")
    context.emit(shown, "\n".join(lines).rstrip())
    return 0


def _wanted_keys(settings: LabSettings, asked: list[str]) -> set[str]:
    """The keys that are named, or that lie in a section that is named; all when none is."""
    from qdl_engine.settings.fields import all_fields
    from qdl_engine.settings.toml import set_values

    keys = [info.key for section in type(settings).model_fields for info in all_fields(section)]
    wanted = set()
    for word in asked:
        found = [key for key in keys if key == word or key.startswith(f"{word}.")]
        if not found:
            # Raises an error that names the nearest key.
            set_values(settings, {word: ""}, file="config show")
        wanted.update(found)
    return wanted or set(keys)


def _toml(value: Any) -> str:
    import tomlkit

    from qdl_engine.core.toml import inline_table

    item = inline_table(value) if isinstance(value, dict) else tomlkit.item(value)
    return str(item.as_string())


def config_validate(context: Context, given: Namespace) -> int:
    from qdl_engine.settings.toml import validate_file

    path = Path(given.file).expanduser().absolute() if given.file else context.open_lab().settings_file
    problems = validate_file(path)
    context.emit(
        {"file": str(path), "valid": not problems, "problems": [vars(problem) for problem in problems]},
        "\n".join(str(problem) for problem in problems) or f"{path} is valid.",
    )
    return SettingsError.exit_code if problems else 0


def config_set(context: Context, given: Namespace) -> int:
    from qdl_engine.settings.toml import apply_overrides, load_settings, save_settings

    lab = context.open_lab()
    changes = [*context.overrides, *given.changes]
    save_settings(lab, apply_overrides(load_settings(lab), changes, typed="config set"))
    context.emit({"file": str(lab.settings_file), "changed": changes}, f"Saved {lab.settings_file}")
    return 0


def doctor(context: Context, given: Namespace) -> int:
    from qdl_engine.lab_state.doctor import examine

    report = examine(context.lab, ask_hub=not given.offline)
    context.emit(report.to_dict(), report.table())
    return 0 if report.healthy else 1


def preflight(context: Context, given: Namespace) -> int:
    from qdl_engine.preflight.examine import examine

    lab, settings = context.open_lab(), context.settings()
    found = examine(lab, settings, given.system, device=given.device, ask_hub=not given.offline)
    context.emit(found.to_dict(), found.table())
    return 0 if found.ready else 1


def demo(context: Context, given: Namespace) -> int:
    from qdl_engine.demo.runner import run_demo

    directory = Path(given.directory).expanduser() if given.directory else context.lab.root / DEMO_DIRECTORY
    with ProgressLine() as progress:
        report = run_demo(directory, progress)
    context.emit(report.as_dict(), str(report))
    return 0
