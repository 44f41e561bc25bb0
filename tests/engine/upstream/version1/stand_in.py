"""A stand-in for an EasyDistill 2.x checkout: it writes what 2.0 writes for `instruct_distill`, and fails as
it is told to in `behaviour.json`, where `starts.txt` counts how often it was started on each shard."""

from __future__ import annotations

import json
from pathlib import Path

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
first = rows[0]["id"]
with open(here / "starts.txt", "a") as handle:
    handle.write(first + "\\n")
print("- openai - INFO - key " + os.environ["OPENAI_API_KEY"], file=sys.stderr, flush=True)
if behaviour.get("halves"):
    said = ("\u00e9 " + os.environ["OPENAI_API_KEY"] + "\\n").encode()
    for piece in (said[:1], said[1:8], said[8:]):
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()
        time.sleep(0.05)
if behaviour.get("hang") == first:
    (here / "hanging").touch()
    time.sleep(600)
if behaviour.get("crash") == first:
    raise ValueError("no such model")
with open(config["dataset"]["output_path"], "w") as handle:
    for row in reversed(rows):
        if behaviour.get("silent") == first or row["id"] in behaviour.get("lose", []):
            print("- x - ERROR - Failed to generate for instruction", row["id"], "after 4 attempts: 500",
                  file=sys.stderr)
            continue
        answer = "It is " + row["instruction"]
        if row["id"] in behaviour.get("quote", []):
            answer = "Your key: " + os.environ["OPENAI_API_KEY"]
        if row["id"] in behaviour.get("half", []):
            answer = "half " + chr(0xd800)
        turns = [
            {"role": "system", "content": config["generation"]["system_prompt"]},
            {"role": "user", "content": row["instruction"]},
            {"role": "assistant", "content": answer},
        ]
        if row["id"] in behaviour.get("spoil", []):
            handle.truncate(0)
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
    """The first id of each shard that was started, in order."""
    return (folder / "starts.txt").read_text(encoding="utf-8").split()
