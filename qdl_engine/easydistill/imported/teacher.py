"""The teacher that a foreign config names, as a teacher of ours, and the words it is asked in."""

from __future__ import annotations

import os
import stat
from typing import Any

from qdl_engine.easydistill.imported.config import Imported
from qdl_engine.errors import SettingsError
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.teachers.address import is_local

KEY_VARIABLE = "QDL_CONFIG_API_KEY"
"""Where a run keeps the key of its config: in its own environment, never in a file."""

# What samples write where a key goes, and what people give to servers that ask for none.
_NO_KEYS = frozenset({"", "token", "empty", "none", "null", "api_key", "your_api_key", "your-api-key"})
_VLLM = ("enable_chunked_prefill", "gpu_memory_utilization", "enforce_eager", "max_model_len")


def teacher_settings(job: Imported, settings: LabSettings) -> tuple[TeacherSettings, list[str]]:
    """Who is asked, and how; with what of the config has no effect.

    A server is the config's own; where the config has only a placeholder, it is the lab's. A local teacher
    is loaded by transformers, or by vLLM where the lab's `teacher.kind` says so.

    Raises:
        SettingsError: when the config names no server and the lab neither, or for a key that others can read.
    """
    if job.by_server:
        return _server(job, settings.teacher)
    return _local(job, settings.teacher)


def system_prompt(job: Imported) -> str:
    """The system prompt that the teacher is asked under.

    Raises:
        SettingsError: when the config's template asks in another shape than ours.
    """
    if job.by_server:
        value = job.inference.get("system_prompt", "")
        if not isinstance(value, str):
            raise SettingsError(f"{job.path}: inference.system_prompt must be a text, not {value!r}")
        return value
    prompt = job.template.system_prompt if job.template is not None else None
    if prompt is None:
        raise SettingsError(
            f"{job.path}: dataset.template is no ChatML, and a teacher of ours is asked in ChatML",
            'Name "chat_template_kd.jinja", which ours stands for, or write ChatML.',
        )
    return prompt


def _server(job: Imported, lab: TeacherSettings) -> tuple[TeacherSettings, list[str]]:
    given = str(job.inference.get("base_url") or "")
    is_address = given.startswith(("http://", "https://"))
    from_lab = lab.kind == "server"
    if not is_address and not (from_lab and lab.url):
        raise SettingsError(
            f"{job.path}: inference.base_url is no http or https address: {given!r}",
            "Write the server's address there, or name one: "
            "--set teacher.kind=server --set teacher.url=http://localhost:8000/v1",
        )
    notes = []
    if job.inference.get("stream"):
        notes.append("inference.stream has no effect: every answer is stored whole as it comes.")
    changes: dict[str, Any] = {
        "kind": "server",
        "url": given if is_address else lab.url,
        # As 1.0 does it, unless the lab names one: the model that the server offers.
        "model": lab.model if from_lab else "",
        "max_new_tokens": _tokens(job, lab),
        "api_key_env": lab.api_key_env,
        "api_key_file": lab.api_key_file,
    }
    if not lab.api_key_env and not lab.api_key_file and _key(job, str(changes["url"])):
        changes["api_key_env"] = KEY_VARIABLE
    return _changed(job, lab, changes), notes


def _key(job: Imported, url: str) -> str:
    """The key that stands in the config; empty when it is a placeholder.

    Raises:
        SettingsError: when others can read the config that holds it.
    """
    value = job.inference.get("api_key")
    key = value.strip() if isinstance(value, str) else ""
    if key.lower().strip("<>") in _NO_KEYS:
        return ""
    if stat.S_IMODE(job.path.stat().st_mode) & 0o077 and not is_local(url):
        raise SettingsError(
            f"Others can read the key in {job.path}",
            f"Close it: chmod 600 {job.path}. Better: take it out, and --set teacher.api_key_env=NAME",
        )
    return key


def hold_key(job: Imported, teacher: TeacherSettings) -> None:
    """Put the config's own key where the teacher looks for it: the environment of this process alone."""
    if teacher.api_key_env == KEY_VARIABLE:
        os.environ[KEY_VARIABLE] = _key(job, teacher.url)


def _local(job: Imported, lab: TeacherSettings) -> tuple[TeacherSettings, list[str]]:
    kind = "vllm" if lab.kind == "vllm" else "hf"
    notes = [
        "inference.temperature and seed have no effect: with them too, 1.0 takes the likeliest token.",
    ]
    if job.inference.get("trust_remote_code"):
        notes.append("inference.trust_remote_code has no effect: code from a hub is never run.")
    unused = [key for key in _VLLM if key in job.inference]
    if unused:
        notes.append(f"inference.{', '.join(unused)}: the teacher here finds its own.")
    changes = {
        "kind": kind,
        "model": job.teacher,
        "max_new_tokens": _tokens(job, lab),
        "temperature": 0.0,
    }
    return _changed(job, lab, changes), notes


def _tokens(job: Imported, lab: TeacherSettings) -> Any:
    return job.inference.get("max_new_tokens", lab.max_new_tokens)


def _changed(job: Imported, lab: TeacherSettings, changes: dict[str, Any]) -> TeacherSettings:
    from pydantic import ValidationError

    from qdl_engine.problems import from_pydantic, settings_error

    try:
        whole = LabSettings.model_validate({"teacher": lab.model_dump() | changes}, strict=True)
    except ValidationError as error:
        raise settings_error(from_pydantic(error, str(job.path))) from error
    return whole.teacher
