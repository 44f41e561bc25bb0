"""The prompts to walk through, and the line that shows one and takes a typed one."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding

from qdl_engine.core.words import printable
from qdl_tui.shared.dialogs import LineInput


class PromptWalk:
    """The prompts of the comparison on show, then those of the lab, and the position among them."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.position = 0

    @property
    def prompt(self) -> str:
        """The prompt at the position; empty when there is none."""
        return self.prompts[self.position] if self.prompts else ""

    def replace(self, first: Iterable[str], then: Iterable[str], at: str = "") -> None:
        """Walk through other prompts from now on, from `at` if it is among them."""
        self.prompts = list(dict.fromkeys([*first, *then]))
        self.position = self.prompts.index(at) if at in self.prompts else 0

    def move(self, prompts: int) -> None:
        if self.prompts:
            self.position = (self.position + prompts) % len(self.prompts)

    def go_to(self, prompt: str) -> bool:
        """Move to a prompt; False when it is not among them."""
        if prompt in self.prompts:
            self.position = self.prompts.index(prompt)
        return prompt in self.prompts

    def place(self, prompt: str) -> str:
        """`Prompt 2/3`; without numbers for a prompt that was typed."""
        here = bool(self.prompts) and self.prompt == prompt
        return f"Prompt {self.position + 1}/{len(self.prompts)}" if here else "Prompt"


class PromptInput(LineInput):
    """The prompt on one line; Enter asks it."""

    BINDINGS = [
        Binding("enter", "submit", "Ask", key_display="enter", id="prompt.ask"),
        Binding("escape", "screen.leave_prompt", "Back", key_display="esc", id="prompt.back"),
        Binding("ctrl+u", "clear_all", "Clear", tooltip="Clear the prompt", id="prompt.clear"),
    ]
    _prompt = ""

    @property
    def prompt(self) -> str:
        """The prompt as it was set, control characters and all, unless the user has edited the line."""
        return self._prompt if self.value == _on_one_line(self._prompt) else _as_typed(self.value)

    @prompt.setter
    def prompt(self, prompt: str) -> None:
        self._prompt = prompt
        self.value = _on_one_line(prompt)

    def action_clear_all(self) -> None:
        self.value = ""

    def in_one_line(self, text: str) -> str:
        return _on_one_line(text)


def _on_one_line(prompt: str) -> str:
    """The prompt with its line breaks and control characters as pictures."""
    return printable(prompt).replace("\n", "␊").replace("\t", "␉")


def _as_typed(line: str) -> str:
    """The prompt that an edited line stands for: pictures of line breaks and tabs become these again."""
    return line.replace("␊", "\n").replace("␉", "\t").strip()
