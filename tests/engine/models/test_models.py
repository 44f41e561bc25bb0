"""Loading and generating: real checkpoints, a few thousand parameters, on the CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import Event, Note, Progress
from qdl_engine.core.prompts import format_prompt
from qdl_engine.models.checkpoint import fingerprint
from qdl_engine.models.device import pick_dtype
from qdl_engine.models.generate import generate, infer_student, stream
from qdl_engine.models.load import LoadedModel, load_student, load_teacher
from tests.tiny import make_tiny_model

PROMPTS = [f"p{number} " * (number % 7 + 1) for number in range(24)]


def set_stop_tokens(directory: Path, tokens: list[int]) -> None:
    """Many stop tokens make a random model end its answers at different lengths."""
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": tokens}))


@pytest.fixture(scope="module")
def wandering_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Greedy text that wanders, ends at different lengths, and a config that would sample."""
    directory = tmp_path_factory.mktemp("models") / "wandering"
    make_tiny_model(directory, seed=3, lively=True, sampling_defaults=True)
    set_stop_tokens(directory, [0, 2, *range(10, 259, 25)])
    return directory


@pytest.fixture(scope="module")
def wandering(wandering_path: Path) -> LoadedModel:
    return load_student(wandering_path)


@pytest.fixture
def broken(tmp_path: Path, wandering_path: Path) -> Path:
    """A copy of a checkpoint that a test may damage."""
    return Path(shutil.copytree(wandering_path, tmp_path / "broken"))


def change_weights(directory: Path, changes: dict[str, Any], *, drop: str = "") -> None:
    weights = load_file(directory / "model.safetensors")
    weights = {name: value for name, value in weights.items() if name != drop} | changes
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def one_token_model(directory: Path, token: int) -> LoadedModel:
    """A model that writes `token` for ever: its layers add nothing, one output row outweighs the others."""
    make_tiny_model(directory)
    weights = load_file(directory / "model.safetensors")
    for name, value in weights.items():
        if "layers" in name:
            value.zero_()
        elif "embed" in name:
            value.zero_()[:, 0] = 1.0
            value[token, 0] = 2.0
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return load_student(directory)


class TestLoading:
    def test_a_checkpoint_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError) as caught:
            load_student(tmp_path / "gone")
        assert caught.value.message == f"Model not found at {tmp_path / 'gone'}"
        assert caught.value.hint == "Train it first, or give the directory of a checkpoint."
        with pytest.raises(ModelError) as caught:
            load_teacher(str(tmp_path / "gone"))
        assert caught.value.message == f"Model not found at {tmp_path / 'gone'}"
        assert caught.value.hint.startswith("Set teacher.model to the directory of a checkpoint")

    @pytest.mark.parametrize("name", ["no model at all", "an/unlikely!name"])
    def test_a_name_that_can_be_no_model(self, name: str) -> None:
        with pytest.raises(ModelError) as caught:
            load_student(name)
        assert caught.value.message == f"Invalid student model: {name}"
        assert "Qwen/Qwen2.5-0.5B-Instruct" in caught.value.hint

    def test_a_hub_name_without_a_network(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Told at once and with the ways that need no network, not after a minute of retries."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ModelError) as caught:
            load_student("nobody/has-this-model")
        assert caught.value.message == "Invalid student model: nobody/has-this-model"
        assert "the hub cannot be reached" in caught.value.hint and "give its directory" in caught.value.hint
        assert "Retrying" not in capfd.readouterr().err

    def test_a_directory_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"Invalid student model: .*\n.*config\.json"):
            load_student(tmp_path)

    @pytest.mark.parametrize(
        ("file", "reason"),
        [("model.safetensors", "pickled ones are refused"), ("tokenizer.json", "tokenizer")],
    )
    def test_a_directory_that_lacks_a_file(self, broken: Path, file: str, reason: str) -> None:
        (broken / file).unlink()
        (broken / "pytorch_model.bin").write_bytes(b"pickle")
        with pytest.raises(ModelError, match=reason):
            load_student(broken)

    def test_weights_cut_short(self, broken: Path) -> None:
        weights = broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(ModelError, match="Invalid student model"):
            load_student(broken)

    def test_missing_weights_are_refused_and_not_made_up(self, broken: Path) -> None:
        change_weights(broken, {}, drop="model.layers.1.mlp.up_proj.weight")
        with pytest.raises(ModelError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
            load_student(broken)

    def test_a_tokenizer_larger_than_the_model(self, broken: Path) -> None:
        config = json.loads((broken / "config.json").read_text()) | {"vocab_size": 250}
        (broken / "config.json").write_text(json.dumps(config))
        weights = load_file(broken / "model.safetensors")
        names = ("model.embed_tokens.weight", "lm_head.weight")
        change_weights(broken, {name: weights[name][:250].clone() for name in names})
        with pytest.raises(ModelError, match="beyond the model's 250"):
            load_student(broken)

    def test_fp32_on_a_cpu_whatever_the_file_holds(self, broken: Path) -> None:
        weights = load_file(broken / "model.safetensors")
        change_weights(broken, {name: value.bfloat16() for name, value in weights.items()})
        assert load_student(broken, device="cpu").model.dtype == torch.float32

    @pytest.mark.parametrize(
        ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
    )
    def test_fp16_before_ampere_and_bf16_since(
        self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
        assert pick_dtype("cuda:0") == dtype

    def test_the_teacher_in_8_bit_without_a_flood_of_warnings(
        self, wandering_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        teacher = load_teacher(wandering_path, device="cpu")
        assert type(teacher.model.model.layers[0].mlp.up_proj).__name__ == "Linear8bitLt"
        assert generate(teacher, ["hello"], max_new_tokens=4)[0].tokens > 0
        assert not [record for record in caplog.records if "bitsandbytes" in record.name]

    def test_importing_costs_no_torch(self) -> None:
        code = (
            "import sys, qdl_engine.models.load, qdl_engine.compare.compare;"
            "import qdl_engine.compare.evaluate, qdl_engine.label.label;"
            "assert not {'torch', 'transformers'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_fingerprint_is_of_the_content(self, wandering_path: Path, broken: Path) -> None:
        assert fingerprint(str(broken)) == fingerprint(str(wandering_path))
        change_weights(broken, {"model.norm.weight": torch.zeros(32)})
        assert fingerprint(str(broken)) != fingerprint(str(wandering_path))
        assert fingerprint("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"


class TestGenerating:
    def test_greedy_text_equals_the_librarys_own(self, wandering: LoadedModel) -> None:
        from transformers import GenerationConfig

        ours = generate(wandering, PROMPTS, max_new_tokens=40, batch_size=8)
        assert len({answer.tokens for answer in ours}) > 5, "the rows must end at different lengths"
        config = GenerationConfig(
            max_new_tokens=40,
            do_sample=False,
            repetition_penalty=1.0,
            eos_token_id=sorted(wandering.stop_ids),
            pad_token_id=wandering.tokenizer.pad_token_id,
        )
        encoded = wandering.tokenizer(PROMPTS, return_tensors="pt", padding=True, add_special_tokens=False)
        output = wandering.model.generate(**encoded, generation_config=config)
        for row, answer in zip(output[:, encoded.input_ids.shape[1] :].tolist(), ours, strict=True):
            ends = [place for place, token in enumerate(row) if token in wandering.stop_ids]
            assert answer.text == wandering.tokenizer.decode(row[: ends[0]] if ends else row)

    def test_the_checkpoints_sampling_defaults_do_not_leak(
        self, tmp_path: Path, wandering: LoadedModel
    ) -> None:
        plain = make_tiny_model(tmp_path / "plain", seed=3, lively=True)
        set_stop_tokens(plain, sorted(wandering.stop_ids))
        texts = [answer.text for answer in generate(load_student(plain), PROMPTS[:8], max_new_tokens=30)]
        assert texts == [answer.text for answer in generate(wandering, PROMPTS[:8], max_new_tokens=30)]

    def test_batches_change_nothing_and_the_order_is_the_prompts(self, wandering: LoadedModel) -> None:
        together = generate(wandering, PROMPTS, max_new_tokens=30, batch_size=24)
        alone = [generate(wandering, [prompt], max_new_tokens=30)[0] for prompt in PROMPTS]
        assert [answer.text for answer in together] == [answer.text for answer in alone]
        assert [answer.stopped for answer in together] == [answer.stopped for answer in alone]

    def test_no_prompts(self, wandering: LoadedModel) -> None:
        assert generate(wandering, [], max_new_tokens=5) == []

    def test_progress_ends_at_the_total(self, wandering: LoadedModel) -> None:
        events: list[Event] = []
        generate(wandering, PROMPTS[:5], max_new_tokens=5, batch_size=2, on_event=events.append)
        last = events[-1]
        assert isinstance(last, Progress)
        assert (last.done, last.total, last.eta_seconds) == (5, 5, 0)
        assert last.tokens_per_second is not None and last.tokens_per_second > 0

    def test_sampling_follows_the_seed(self, wandering: LoadedModel) -> None:
        texts = [
            [
                answer.text
                for answer in generate(wandering, PROMPTS[:4], max_new_tokens=20, temperature=1.5, seed=seed)
            ]
            for seed in (1, 1, 2)
        ]
        assert texts[0] == texts[1] != texts[2]

    def test_the_streamed_pieces_join_to_the_text(self, wandering: LoadedModel) -> None:
        for prompt in (*PROMPTS[:8], format_prompt("héllo 你好")):
            pieces = list(stream(wandering, prompt, max_new_tokens=30))
            whole = generate(wandering, [prompt], max_new_tokens=30)[0]
            assert "".join(piece.text for piece in pieces) == whole.text
            assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
            assert (pieces[-1].tokens, pieces[-1].stopped, pieces[-1].reason) == (
                whole.tokens,
                whole.stopped,
                whole.reason,
            )

    def test_half_a_character_is_never_streamed(self, tmp_path: Path) -> None:
        from qdl_engine.models.generate import Pieces

        tokenizer = load_student(make_tiny_model(tmp_path)).tokenizer
        tokens = tokenizer("a你€!", add_special_tokens=False)["input_ids"]
        pieces = Pieces(tokenizer)
        texts = [pieces.next(tokens[: count + 1]) for count in range(len(tokens))]
        assert [text for text in texts if text] == ["a", "你", "€", "!"]

    def test_a_student_answers(self, wandering_path: Path, wandering: LoadedModel) -> None:
        prompt = format_prompt("Hello", "system2", system_prompt="Think.")
        expected = generate(wandering, [prompt], max_new_tokens=20)[0].text
        for student in (wandering_path, wandering):
            answer = infer_student(student, "Hello", "system2", system_prompt="Think.", max_new_tokens=20)
            assert answer == expected


class TestFaults:
    def test_an_answer_of_one_token_without_end(self, tmp_path: Path) -> None:
        loaded = one_token_model(tmp_path, 40)
        answer = generate(loaded, ["hello"], max_new_tokens=500)[0]
        assert (answer.stopped, answer.reason) == ("length", "repeated")
        assert answer.tokens < 100, "no time is spent on the rest of it"

    def test_an_empty_answer(self, tmp_path: Path) -> None:
        answer = generate(one_token_model(tmp_path, 2), ["hello"], max_new_tokens=10)[0]
        assert (answer.text, answer.stopped, answer.reason) == ("", "eos", "empty")

    def test_a_cut_answer(self, wandering: LoadedModel) -> None:
        answers = generate(wandering, PROMPTS, max_new_tokens=3)
        assert {answer.reason for answer in answers if answer.stopped == "length"} == {"cut"}

    def test_a_prompt_that_fills_the_context(self, broken: Path) -> None:
        config = json.loads((broken / "config.json").read_text()) | {"max_position_embeddings": 20}
        (broken / "config.json").write_text(json.dumps(config))
        loaded = load_student(broken)
        answers = generate(loaded, ["x" * 30, "x" * 18], max_new_tokens=10)
        assert answers[0].reason == "too long"
        assert answers[1].tokens <= 2
        with pytest.raises(ModelError, match="context of 20 tokens"):
            list(stream(loaded, "x" * 30, max_new_tokens=10))

    def test_nan(self, broken: Path) -> None:
        change_weights(broken, {"model.norm.weight": torch.full((32,), float("nan"))})
        with pytest.raises(ModelError, match="computes NaN") as caught:
            generate(load_student(broken), ["hello"], max_new_tokens=5)
        assert "teacher.quantization" in caught.value.hint


@pytest.fixture
def small_gpu(wandering: LoadedModel) -> Iterator[dict[str, int]]:
    """The model on a device that has room for so many prompts, and then fails as torch fails."""
    room = {"prompts": 3, "failures": 0}

    def refuse(_module: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
        if keywords["input_ids"].shape[0] > room["prompts"]:
            room["failures"] += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = wandering.model.register_forward_pre_hook(refuse, with_kwargs=True)
    yield room
    handle.remove()


class TestOutOfMemory:
    def test_the_batch_halves_and_goes_on(self, wandering: LoadedModel, small_gpu: dict[str, int]) -> None:
        events: list[Event] = []
        answers = generate(wandering, PROMPTS, max_new_tokens=10, batch_size=8, on_event=events.append)
        assert small_gpu["failures"] == 2
        notes = [event.message for event in events if isinstance(event, Note)]
        assert [note.partition("continuing with ")[2] for note in notes] == ["4 at a time", "2 at a time"]
        small_gpu["prompts"] = 100
        assert [a.text for a in answers] == [a.text for a in generate(wandering, PROMPTS, max_new_tokens=10)]

    def test_not_even_one_fits(self, wandering: LoadedModel, small_gpu: dict[str, int]) -> None:
        small_gpu["prompts"] = 0
        with pytest.raises(ModelError, match="Out of GPU memory") as caught:
            generate(wandering, PROMPTS[:4], max_new_tokens=10, batch_size=4)
        assert "teacher.max_new_tokens" in caught.value.hint


@pytest.mark.parametrize("name", ["", " ", "x" * 5000, "a\0b"], ids=["empty", "blank", "long", "nul"])
def test_a_name_that_no_file_can_have_is_no_student(name: str) -> None:
    with pytest.raises(ModelError, match="Invalid student model: "):
        load_student(name)
