"""Configs with the keys that EasyDistill 1.0's own samples use, and values of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STOCK_TEMPLATE = "./chat_template/chat_template_kd.jinja"

_API = {"base_url": "http://127.0.0.1:9/v1", "api_key": "TOKEN", "stream": True, "max_new_tokens": 64}
_LOCAL = {
    "enable_chunked_prefill": True,
    "seed": 777,
    "gpu_memory_utilization": 0.9,
    "temperature": 0.8,
    "trust_remote_code": True,
    "enforce_eager": False,
    "max_model_len": 4096,
    "max_new_tokens": 64,
}
_TRAINING = {
    "output_dir": "./result/",
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "max_length": 512,
    "save_steps": 1000,
    "logging_steps": 1,
    "learning_rate": 2e-5,
    "weight_decay": 0.05,
    "warmup_ratio": 0.1,
    "lr_scheduler_type": "cosine",
}
_KD_DATASET = {
    "instruction_path": "data/questions.json",
    "labeled_path": "data/labeled.json",
    "template": STOCK_TEMPLATE,
    "seed": 42,
}
_SYNTHESIS = ("cot_generation", "cot_long2short", "cot_short2long")
_INSTRUCTION = ("instruction_expansion", "instruction_refinement", "instruction_response_extraction")


def sample(job_type: str, **inference: Any) -> dict[str, Any]:
    """The config of one job type; `inference` replaces keys of that section."""
    if job_type.startswith("kd_black_box"):
        config: dict[str, Any] = {
            "job_type": job_type,
            "dataset": dict(_KD_DATASET),
            "models": {"student": "student/"},
            "training": dict(_TRAINING),
        }
        if job_type == "kd_black_box_api":
            config["inference"] = _API | {"system_prompt": "You are a helpful assistant."} | inference
        if job_type == "kd_black_box_local":
            config["inference"] = _LOCAL | inference
            config["models"]["teacher"] = "teacher/"
        return config
    dataset: dict[str, Any] = {"input_path": "data/questions.json", "output_path": "data/made.json"}
    if job_type == "cot_eval_api":
        section = {key: _API[key] for key in ("base_url", "api_key", "max_new_tokens")}
        return {"job_type": job_type, "dataset": dataset, "inference": section | inference}
    if job_type.startswith("instruction_expansion"):
        dataset |= {"num_in_context_samples": 3, "num_output_samples": 10}
    config = {"job_type": job_type, "dataset": dataset}
    ours = {"prompt": "Do what is asked below."}
    if job_type.endswith("_batch"):
        dataset["template"] = STOCK_TEMPLATE
        config["models"] = {"teacher": "teacher/"}
        config["inference"] = ours | _LOCAL | inference
    else:
        config["inference"] = ours | _API | inference
    return config


def write_sample(folder: Path, config: dict[str, Any]) -> Path:
    """The config in `folder`, with the rows and the models that it names."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "instruction": f"{number} and 1?",
            "input": "",
            "output": f"{number + 1}.",
            "data": f"Fact {number}.",
        }
        for number in range(12)
    ]
    for name in ("questions.json", "labeled.json"):
        (folder / "data" / name).write_text(json.dumps(rows), encoding="utf-8")
    for name in ("student", "teacher"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text("{}", encoding="utf-8")
    path = folder / f"{config['job_type']}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path
