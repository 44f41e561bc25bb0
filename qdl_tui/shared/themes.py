"""The app's own themes. Every colour is one of the 256 of a plain SSH terminal, so none is rounded."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="qdl-dark",
    primary="#5fafff",
    secondary="#87afd7",
    accent="#ffaf5f",
    warning="#ffd75f",
    error="#ff8787",
    success="#87d787",
    foreground="#dadada",
    background="#121212",
    surface="#1c1c1c",
    panel="#303030",
    dark=True,
    variables={
        "text-muted": "#a8a8a8",
        "text-disabled": "#808080",
        "border": "#5f87af",
        "border-blurred": "#585858",
        "block-cursor-background": "#5fafff",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#444444",
        "block-cursor-blurred-foreground": "#ffffff",
    },
)

LIGHT = Theme(
    name="qdl-light",
    primary="#005faf",
    secondary="#005f87",
    accent="#875f00",
    warning="#875f00",
    error="#af0000",
    success="#005f00",
    foreground="#121212",
    background="#eeeeee",
    surface="#ffffff",
    panel="#d0d0d0",
    dark=False,
    variables={
        "text-muted": "#444444",
        "text-disabled": "#767676",
        "border": "#005faf",
        "border-blurred": "#9e9e9e",
        "block-cursor-background": "#005faf",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#bcbcbc",
        "block-cursor-blurred-foreground": "#000000",
    },
)
