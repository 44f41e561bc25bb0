"""The template that EasyDistill 1.0's samples name, and what stands in for it."""

from __future__ import annotations

from pathlib import Path

from qdl_engine.easydistill.template import PromptTemplate, parse_template, read_template
from qdl_engine.errors import SettingsError
from qdl_engine.prompts import training_template

STOCK_NAME = "chat_template_kd.jinja"
STOCK_SYSTEM_PROMPT = "You are a helpful assistant."
# What it renders in use. In training it renders another blank line, and a stray "-" after the end token.
_STOCK_PREFIX = f"<|im_start|>system\n{STOCK_SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\n"
_STOCK_SUFFIX = "<|im_end|>\n  <|im_start|>assistant\n"
_NOTE = (
    "dataset.template is EasyDistill's stock one, which asks in other bytes in training than in use: ours "
    f"stands in for it, with the same system prompt ({STOCK_SYSTEM_PROMPT!r})."
)


def is_stock(template: PromptTemplate) -> bool:
    """Whether a template renders what the stock one renders, whatever its file is called."""
    return (template.prefix, template.suffix) == (_STOCK_PREFIX, _STOCK_SUFFIX)


def template_of(value: str, config: Path, base: Path, notes: list[str]) -> tuple[PromptTemplate, Path | None]:
    """The template that a config means, and its file; no file when ours stands in for the stock one.

    The samples name the stock one by a path at which their own repository has nothing, so its name is enough.

    Raises:
        SettingsError: when the file is not there, or renders no prompt.
    """
    given = Path(value).expanduser()
    folders = list(dict.fromkeys([base, config.parent, Path.cwd()]))
    found = next((folder / given for folder in folders if (folder / given).is_file()), None)
    if found is None and given.name != STOCK_NAME:
        looked = " and in ".join(map(str, folders))
        raise SettingsError(
            f"dataset.template of {config.name} is not there: {value}",
            f"Looked in {looked}. It is the Jinja file of the chat template. Copy yours there, or write "
            f'"{STOCK_NAME}", EasyDistill\'s stock one, which need not be there: ours stands in for it.',
        )
    template = None if found is None else read_template(found)
    if found is None or template is None or is_stock(template):
        notes.append(_NOTE)
        return parse_template(training_template(STOCK_SYSTEM_PROMPT)), None
    return template, found.absolute()
