"""The demo's tokenizer: Qwen2's construction (byte-level BPE, one token a digit, ChatML) with 800 tokens."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from qdl_engine.demo.world import END, SYSTEM_PROMPTS, stream

VOCABULARY: Final = 800
PADDING: Final = "<|endoftext|>"
CHATML: Final = (PADDING, "<|im_start|>", END)
REASONING: Final = ("<think>", "</think>")

QWEN2_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE: Final = (
    "{%- if messages[0]['role'] != 'system' %}"
    "{{- '<|im_start|>system\\nAnswer directly.<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}"
    "{%- else %}{{- message['content'] + '<|im_end|>\\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

_CORPUS_SAMPLES: Final = 30_000


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the merges from training questions and answers only; the result is the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(CHATML) - len(REASONING),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens(list(CHATML))
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in REASONING])
    return _wrap(tokenizer)


def save_tokenizer(directory: Path) -> None:
    """Train the tokenizer and write its files into a model directory."""
    directory.mkdir(parents=True, exist_ok=True)
    train_tokenizer().save_pretrained(directory)


def _corpus() -> Iterator[str]:
    """Both styles of every sample, without the tags: those are tokens already."""
    for sample in islice(stream("train", "tokenizer"), _CORPUS_SAMPLES):
        yield f"system\n{SYSTEM_PROMPTS['system1']}\nuser\n{sample.question}\nassistant\n{sample.answer}"
        reasoned = f"{sample.thought}\n\n{sample.answer}"
        yield f"system\n{SYSTEM_PROMPTS['system2']}\nuser\n{sample.question}\nassistant\n{reasoned}"


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as Hugging Face's classes take it, with its special tokens and chat template."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PADDING,
        unk_token=None,
        bos_token=None,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped
