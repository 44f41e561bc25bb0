"""The status line under the answers: what is shown, what can be done with it, whether names are hidden."""

from __future__ import annotations

from collections.abc import Callable

from qdl_tui.compare.live import LiveComparison, View
from qdl_tui.compare.voting import Voting


def status_text(
    view: View,
    live: LiveComparison | None,
    voting: Voting,
    *,
    in_step: bool,
    key_of: Callable[[str], str],
    width: int,
) -> str:
    """What is shown, in one line where `width` characters are enough.

    Args:
        view: The answers on show.
        live: The comparison that is being asked, if there is one; it may have moved on to another prompt.
        voting: Tells whether names are hidden, and what was voted.
        in_step: Whether the answers scroll together.
        key_of: The key of a binding.
        width: The room for it.
    """
    hidden = voting.hides_names(view)
    about = _asking(live, key_of) if live is not None else _saved(view, voting, key_of, width)
    separately = "" if in_step else "scrolling separately"
    text = "  ".join(filter(None, [about, voting.mode_text(view), separately]))
    # The panes themselves show that names are hidden.
    return about if hidden and len(text) > width else text


def _asking(live: LiveComparison, key_of: Callable[[str], str]) -> str:
    total = len(live.prompts)
    of = f" {live.position + 1} of {total}" if total > 1 else ""
    return f"Asking{of}: {key_of('compare.cancel')} cancels"


def _saved(view: View, voting: Voting, key_of: Callable[[str], str], width: int) -> str:
    if view.saved is None:
        return ""
    if voting.hides_names(view):
        return _vote_keys(len(view.votable), key_of, width)
    date = view.saved.comparison.created[:16].replace("T", " ")
    unsaved = "" if view.saved.kept.name else ", not saved yet"
    return "  ".join(filter(None, [f"{date}{unsaved}", voting.verdict_text(view.saved)]))


def _vote_keys(answers: int, key_of: Callable[[str], str], width: int) -> str:
    places = ("left", "middle", "right") if answers == 3 else ("left", "right")
    names = {**{place: place for place in places}, "tie": "tie", "bad": "all bad"}
    votes = "  ".join(f"{key_of(f'compare.vote_{verdict}')} {name}" for verdict, name in names.items())
    whole = f"Which is best?  {votes}"
    # On a narrow screen, or with long names of keys, the keys matter more than the question.
    return votes if len(whole) > width else whole
