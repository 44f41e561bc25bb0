"""A stand-in for a checkout of EasyDistill 2.x, and what the tests ask it.

It writes what 2.0 writes for `instruct_distill`, and fails as `behaviour.json` says, where questions have
the last number in them as a name; `starts.txt` has the numbers of each start on a line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qdl_engine.core.events import Event
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings
from qdl_engine.settings.address import Secret
from qdl_engine.upstream.version2 import Request, Version2, request_of
from qdl_engine.upstream.version2_run import Report, make_data

KEY = "sk-secret-of-a-key"
QUESTIONS = [f"What costs $100 and {number}?" for number in range(7)]

PROGRAM = """
import json, os, re, sys, time
from pathlib import Path
here = Path.cwd()
def expand(text):
    return re.sub(r"[$][{](\\w+)[}]|[$](\\w+)", lambda found: os.environ[found[1] or found[2]], text)
config = json.loads(Path(sys.argv[-1]).read_text(), object_hook=lambda pairs: {
    key: expand(value) if isinstance(value, str) else value for key, value in pairs.items()
})
rows = [json.loads(line) for line in Path(config["dataset"]["input_path"]).read_text().splitlines()]
behaviour = json.loads((here / "behaviour.json").read_text())
number = lambda row: re.findall(r"\\d+", row["instruction"])[-1]
with open(here / "starts.txt", "a") as handle:
    handle.write("".join(map(number, rows)) + "\\n")
print("- openai - INFO - key " + os.environ["OPENAI_API_KEY"], file=sys.stderr, flush=True)
if behaviour.get("halves"):
    said = ("\u00e9 " + os.environ["OPENAI_API_KEY"] + "\\n").encode()
    for piece in (said[:1], said[1:8], said[8:]):
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()
        time.sleep(0.05)
if behaviour.get("hang"):
    (here / "hanging").touch()
    time.sleep(600)
if behaviour.get("crash"):
    raise ValueError("no such model")
for done in range(len(rows) + 1):
    bar = f"Generating responses:  9%|###  | {done}/{len(rows)} [00:00<00:00, 3.5it/s]"
    print("\\r" + bar, end="", file=sys.stderr)
print(file=sys.stderr)
with open(config["dataset"]["output_path"], "w") as handle:
    for row in reversed(rows):
        if number(row) in behaviour.get("lose", []):
            print("- x - ERROR - Failed to generate for instruction", row["id"], "after 4 attempts: 500",
                  file=sys.stderr)
            continue
        answer = "It is " + row["instruction"]
        if number(row) in behaviour.get("quote", []):
            answer = "Your key: " + os.environ["OPENAI_API_KEY"]
        if number(row) in behaviour.get("half", []):
            answer = "half " + chr(0xd800)
        turns = [
            {"role": "system", "content": config["generation"]["system_prompt"]},
            {"role": "user", "content": row["instruction"]},
            {"role": "assistant", "content": answer},
        ]
        if number(row) in behaviour.get("spoil", []):
            handle.write(chr(0xd800))
        handle.write(json.dumps({"messages": turns, "metadata": {"request_id": row["id"]}}) + "\\n")
"""


def make_stand_in(folder: Path) -> Path:
    """A checkout that `find_version2` takes, with its dependency."""
    for name in ("easydistill/__init__.py", "easydistill/cli/__init__.py", "easydistill/cli/main.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    (folder / "openai.py").write_text("", encoding="utf-8")
    (folder / "easydistill" / "cli" / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    prompts = folder / "configs" / "prompts"
    prompts.mkdir(parents=True)
    (prompts / "cot_generation_prompt.txt").write_text("{problem}", encoding="utf-8")
    behave(folder)
    return folder


def behave(folder: Path, **behaviour: object) -> None:
    (folder / "behaviour.json").write_text(json.dumps(behaviour), encoding="utf-8")


def starts(folder: Path) -> list[str]:
    """The numbers of the questions of each start, in order."""
    return (folder / "starts.txt").read_text(encoding="utf-8").split()


def request(job: str = "instruct_distill", *, system_prompt: str = "Pay in $USD.", **teacher: Any) -> Request:
    """A request with a server as the teacher; `teacher` replaces settings of it."""
    given = {"kind": "server", "url": "http://127.0.0.1:9/v1", "model": "", "temperature": 0.7}
    settings = {"teacher": given | teacher, "system1": {"system_prompt": system_prompt}}
    return request_of(job, LabSettings.model_validate(settings))


def run(
    lab: Lab,
    checkout: Path,
    events: list[Event] | None = None,
    questions: list[str] = QUESTIONS,
    **teacher: Any,
) -> Report:
    """One start of `instruct_distill` in the stand-in."""
    return make_data(
        lab,
        Version2(checkout, sys.executable),
        request(**teacher),
        questions,
        key=Secret(KEY),
        output=lab.data / "made.jsonl",
        on_event=(events if events is not None else []).append,
    )


def made(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.data / "made.jsonl").read_text(encoding="utf-8").splitlines()]


def make_lab(folder: Path) -> Lab:
    """A lab whose path 2.x would expand."""
    lab = Lab.at(folder / "a $HOME lab")
    lab.create_directories()
    return lab


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
