"""`init`, `status` and `config`: the lab and its settings."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli import run_config
from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import one_line

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings


def add_commands(group: Group) -> None:
    command = group.command("init", init, "make a lab: a directory with a qdl.toml")
    command.add_argument("directory", nargs="?", help="where (default: --lab)")
    group.command("status", status, "show what of the lab is ready, and what is next")
    config = group.group("config", "show, check or change the settings")
    show = config.command("show", config_show, "show the settings in force")
    show.add_argument("keys", nargs="*", metavar="KEY", help="only these, such as system1 or system1.rows")
    validate = config.command("validate", config_validate, "check a settings file")
    validate.add_argument("file", nargs="?", help="which file (default: the lab's qdl.toml)")
    change = config.command("set", config_set, "change settings in the lab's qdl.toml")
    change.add_argument("changes", nargs="+", metavar="KEY=VALUE")
    run_config.add_import(config)


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
    # What status calls next, so that both say the same.
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
    lines = []
    for section in values:
        infos = [info for info in all_fields(section) if info.key in wanted]
        if not infos:
            continue
        lines.append(f"[{section}]")
        for info in infos:
            name = info.key.partition(".")[2]
            value = values[section][name]
            changed = "" if value == info.default else f"  (default: {one_line(_toml(info.default), 40)})"
            lines.append(f"{name} = {_toml(value)}{changed}")
        lines.append("")
    kept = {
        section: {name: value for name, value in fields.items() if f"{section}.{name}" in wanted}
        for section, fields in values.items()
    }
    context.emit({section: fields for section, fields in kept.items() if fields}, "\n".join(lines).rstrip())
    return 0


def _wanted_keys(settings: LabSettings, asked: list[str]) -> set[str]:
    from qdl_engine.settings.fields import all_fields
    from qdl_engine.settings.toml import set_values

    keys = [info.key for section in type(settings).model_fields for info in all_fields(section)]
    wanted = set()
    for word in asked:
        found = [key for key in keys if key == word or key.startswith(f"{word}.")]
        if not found:
            # Raises, naming the nearest key.
            set_values(settings, {word: ""}, file="config show")
        wanted.update(found)
    return wanted or set(keys)


def _toml(value: Any) -> str:
    import tomlkit

    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update(value)
        return str(inline.as_string())
    return str(tomlkit.item(value).as_string())


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
