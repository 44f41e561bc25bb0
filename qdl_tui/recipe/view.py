"""What the recipe screen says of its settings, as text: the title, the help of one, the config they make."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content

from qdl_engine.core.words import printable
from qdl_tui.recipe.draft import ConfigView, Draft, Field, value_text

WAITING = "reading settings…"
BROKEN = "no settings read"


def title_text(
    name: str,
    draft: Draft | None,
    keys: set[str],
    *,
    needle: str,
    waiting: bool,
    key_of: Callable[[str], str],
    training: str = "",
) -> Content:
    """One line: whose recipe, how many edits wait, what is hidden by a search, whether it is trained now."""
    head = (f"{name}  ", "bold $accent")
    if draft is None:
        state = (WAITING, "$text-muted") if waiting else (BROKEN, "bold $error")
        return Content.assemble(head, state)
    changed = len([key for key, _old, _new in draft.changes() if key in keys])
    parts = [head, (f"{changed} changed, not saved", "$warning")]
    if not changed:
        parts[1] = ("as saved in qdl.toml", "$text-muted")
    if draft.changed_outside:
        parts.append((f"  qdl.toml changed outside: {key_of('recipe.reload')} reads it", "bold $error"))
    if needle:
        parts.append((f"  only '{printable(needle)}' ({key_of('recipe.back')}: all)", "$primary"))
    if training:
        parts.append((f"  {training} ({key_of('app.training')} shows it)", "$primary"))
    return Content.assemble(*parts)


def help_text(field: Field, draft: Draft, *, key_of: Callable[[str], str], whole: bool = False) -> Content:
    """What the setting is for, what it accepts, its default and what the file says.

    Args:
        field: The setting.
        draft: Its values.
        key_of: The key of an action as the user has it.
        whole: Whether its value is shown too, where the list had to cut it.
    """
    info = field.info
    saved, value, default = draft.saved_text(field.key), draft.text(field.key), value_text(info.default)
    rows = [
        ("unit", info.unit),
        ("accepts", info.bounds_text),
        ("default", printable(default) or "(empty)"),
        ("saved", (printable(saved) or "(empty)") if draft.is_changed(field.key) else ""),
        ("unused", _unused(field, draft)),
        ("keys", _keys(field, key_of("form.edit"), key_of("form.default"))),
        # The last: a long one leaves no room behind it.
        ("value", printable(value) if whole and value != default else ""),
    ]
    lines = [Content.styled(field.key, "bold $accent"), Content(info.help), Content("")]
    lines += [Content.assemble((f"{name:9}", "$text-muted"), value) for name, value in rows if value]
    return Content("\n").join(lines)


def _unused(field: Field, draft: Draft) -> str:
    kind = draft.unused_with(field)
    return f"kind is {kind}; for {' and '.join(field.info.kinds)}" if kind else ""


def _keys(field: Field, edit: str, default: str) -> str:
    does = {"bool": "turns it", "choice": "shows the choices"}.get(field.info.kind, "edits")
    if field.key in ("system1.mapping", "system2.mapping"):
        does = "opens the editor"
    return f"{edit} {does}; {default}: default"


def config_text(view: ConfigView) -> Content:
    """The config and the command; lines that wait to be saved carry a star and a colour."""
    lines = [
        Content.styled(f"* {printable(line)}", "bold $warning")
        if number in view.changed
        else Content(f"  {printable(line)}")
        for number, line in enumerate(view.lines)
    ]
    command = Content.assemble(("$ ", "bold $accent"), printable(view.command_line))
    return Content("\n").join([command, Content(""), *lines])
