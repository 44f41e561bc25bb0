"""Legible in 24-bit colour, in 256, in 16 and with NO_COLOR; meaning never by colour alone."""

from __future__ import annotations

from itertools import chain

import pytest
from rich.color import Color, ColorSystem
from rich.color_triplet import ColorTriplet
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from textual.strip import Strip

from qdl_tui.app import QdlApp
from tests.tui.looks import SCREENS, go_to, looks_app, looks_lab
from tests.tui.screen import screen_text

LEAST = {ColorSystem.TRUECOLOR: 3.0, ColorSystem.EIGHT_BIT: 3.0, ColorSystem.STANDARD: 2.0}
"""The least contrast, by WCAG's formula: 3 is what it asks of large text; 16 colours leave less choice."""
THEMES = ("qdl-dark", "qdl-light")


def luminance(colour: ColorTriplet) -> float:
    """Relative luminance from 0 to 1 (WCAG 2.1)."""
    parts = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in colour)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: ColorTriplet, other: ColorTriplet) -> float:
    """WCAG 2.1's contrast ratio, from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def shown_pairs(app: QdlApp, system: ColorSystem) -> dict[tuple[ColorTriplet, ColorTriplet], str]:
    """Every pair of text and background colour on the screen, as a terminal with `system` draws it.

    What lies behind a dialog is faint on purpose and does not count.
    """
    found: dict[tuple[ColorTriplet, ColorTriplet], str] = {}
    rows = [Strip(row) for row in app.screen._compositor.render_strips()]
    top = app.screen
    regions = [child.region for child in top.children] if top.is_modal else [top.region]
    for region in regions:
        for segment in chain.from_iterable(rows[y].crop(region.x, region.right) for y in region.line_range):
            style = segment.style
            if not segment.text.strip() or style is None:
                continue
            text, behind = (style.bgcolor, style.color) if style.reverse else (style.color, style.bgcolor)
            pair = drawn(text, system, foreground=True), drawn(behind, system, foreground=False)
            found.setdefault(pair, segment.text)
    return found


def drawn(colour: Color | None, system: ColorSystem, *, foreground: bool) -> ColorTriplet:
    chosen = (colour or Color.default()).downgrade(system)
    return chosen.get_truecolor(DEFAULT_TERMINAL_THEME, foreground=foreground)


def illegible(app: QdlApp, system: ColorSystem) -> list[str]:
    """What cannot be read: only text counts, not bars and lines, which may be faint."""
    return [
        f"{text!r}: {contrast(*pair):.1f} of {LEAST[system]}"
        for pair, text in shown_pairs(app, system).items()
        if any(character.isalnum() for character in text) and contrast(*pair) < LEAST[system]
    ]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("screen", SCREENS)
async def test_every_screen_is_legible_in_every_colour_system(screen: str, theme: str) -> None:
    with looks_lab() as lab:
        app = looks_app(lab, theme)
        async with app.run_test(size=(80, 24)) as pilot:
            await go_to(app, pilot, screen)
            for system in LEAST:
                assert illegible(app, system) == [], system


@pytest.mark.parametrize("screen", SCREENS)
async def test_no_color_shows_greys_with_the_same_words(screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with looks_lab() as lab:
        app = looks_app(lab)
        async with app.run_test(size=(80, 24)) as pilot:
            await go_to(app, pilot, screen)
            coloured = screen_text(app)
        monkeypatch.setenv("NO_COLOR", "1")
        app = looks_app(lab)
        async with app.run_test(size=(80, 24)) as pilot:
            await go_to(app, pilot, screen)
            greys = {colour for pair in shown_pairs(app, ColorSystem.TRUECOLOR) for colour in pair}
            assert all(red == green == blue for red, green, blue in greys)
            assert illegible(app, ColorSystem.TRUECOLOR) == []
            assert screen_text(app).split("disk")[0] == coloured.split("disk")[0]


async def test_a_state_has_a_word_or_a_sign_and_the_screen_on_show_brackets() -> None:
    with looks_lab() as lab:
        app = looks_app(lab)
        async with app.run_test(size=(80, 24)) as pilot:
            await go_to(app, pilot, "runs")
            shown = screen_text(app)
            assert "done" in shown and "failed" in shown and "[4 Runs]" in shown
