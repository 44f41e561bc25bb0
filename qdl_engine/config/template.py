"""EasyDistill template files, read by what they render: the bytes before and after the instruction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.prompts import END_OF_TURN, format_completion, format_prompt

_MARK = "qdl-instruction-mark"
_OUTPUT_MARK = "qdl-output-mark"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


@dataclass(frozen=True)
class PromptTemplate:
    """The text around an instruction, as the template's generation prompt renders it."""

    prefix: str
    suffix: str
    same_in_training: bool = True
    """False for a template whose training text does not begin with its own generation prompt, as the stock
    one of EasyDistill 1.0, or does not end with the end token."""

    def prompt(self, instruction: str) -> str:
        """The prompt of one instruction, as the student is trained on it."""
        return f"{self.prefix}{instruction}{self.suffix}"

    @property
    def system_prompt(self) -> str | None:
        """The system prompt when the template is ChatML as `format_prompt` writes it, else None."""
        head, tail = format_prompt(_MARK, system_prompt=_OUTPUT_MARK).split(_MARK)
        opening, closing = head.split(_OUTPUT_MARK)
        if self.suffix != tail or not (self.prefix.startswith(opening) and self.prefix.endswith(closing)):
            return None
        return self.prefix[len(opening) : len(self.prefix) - len(closing)]

    @property
    def sha256(self) -> str:
        """Identifies the rendered bytes, not the way the file writes them."""
        return hashlib.sha256(f"{self.prefix}\0{self.suffix}".encode()).hexdigest()

    def source(self) -> str:
        """A template file of EasyDistill with this prompt; in training the answer and its end follow."""
        return (
            f"{{{{- {_quoted(self.prefix)} ~ message['content'] ~ {_quoted(self.suffix)} -}}}}\n"
            f"{{%- if add_output -%}}{{{{- message['output'] ~ {_quoted(END_OF_TURN)} -}}}}{{%- endif -%}}"
        )

    def chat_template(self) -> str:
        """A chat template for the student's tokenizer, whose prompt for one user turn is `prompt`'s bytes.

        The recipe's system prompt is the default, so that a program which knows nothing of recipes still asks
        the student in the words it was trained with.
        """
        if self.system_prompt is None:
            # Not ChatML: only the shape that was trained can be rendered, so a turn is the last user message.
            return (
                "{%- set turns = messages | selectattr('role', 'equalto', 'user') | list -%}"
                f"{{{{- {_quoted(self.prefix)} ~ turns[-1]['content'] ~ {_quoted(self.suffix)} -}}}}"
            )
        default = _quoted(self.system_prompt)
        return (
            "{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] -%}"
            "{%- set turns = messages[1:] -%}"
            f"{{%- else -%}}{{%- set system = {default} -%}}{{%- set turns = messages -%}}{{%- endif -%}}\n"
            "{{- '<|im_start|>system\\n' ~ system ~ '<|im_end|>\\n' -}}\n"
            "{%- for turn in turns -%}"
            "{{- '<|im_start|>' ~ turn['role'] ~ '\\n' ~ turn['content'] ~ '<|im_end|>\\n' -}}"
            "{%- endfor -%}\n"
            "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
        )


def read_template(path: Path) -> PromptTemplate:
    """Read a template file.

    Raises:
        SettingsError: when it is missing, is no Jinja, or does not render the instruction exactly once.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"dataset.template cannot be read: {path}: {error}") from error
    return parse_template(source, str(path))


def parse_template(source: str, where: str = "template") -> PromptTemplate:
    """Find out what a template renders, by rendering it: its code is of no interest.

    Raises:
        SettingsError: see `read_template`.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        template = ImmutableSandboxedEnvironment().from_string(source)
        message = {"content": _MARK, "output": _OUTPUT_MARK}
        prompt = template.render(message=message, add_generation_prompt=True, add_output=False)
        trained = template.render(message=message, add_generation_prompt=False, add_output=True)
    except (TemplateError, OverflowError) as error:
        raise SettingsError(f"{where} is not a template EasyDistill can render: {error}") from error
    parts = prompt.split(_MARK)
    if len(parts) != 2:
        hint = "It must write message['content'] exactly once when add_generation_prompt is set."
        raise SettingsError(f"{where} renders the instruction {len(parts) - 1} times", hint)
    return PromptTemplate(parts[0], parts[1], trained == prompt + format_completion(_OUTPUT_MARK))
