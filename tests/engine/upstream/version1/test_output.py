"""The console of EasyDistill 1.x, as its training really prints, becomes events."""

from __future__ import annotations

import math

from qdl_engine.core.events import Event, Metrics, Started
from qdl_engine.upstream.version1.outcome import ConsoleParser, plain_line

# As the unmodified 1.0 printed it, shortened: bars of other work, a bar again after each dict, \r everywhere.
OUTPUT = (
    "\rLoading checkpoint shards:  50%|█████     | 1/2 [00:01<00:01,  1.20s/it]"
    "\rTokenizing train dataset: 100%|██████████| 40/40 [00:00<00:00, 1362.51 examples/s]\n"
    "\r  0%|          | 0/20 [00:00<?, ?it/s]"
    "\r  5%|▌         | 1/20 [00:00<00:05,  3.52it/s]\r                                   \r"
    "{'loss': 5.6426, 'grad_norm': 2.78, 'learning_rate': 0.0, 'num_tokens': 208.0, "
    "'mean_token_accuracy': 0.0196, 'epoch': 0.1}\n"
    "\r  5%|▌         | 1/20 [00:00<00:05,  3.52it/s]"
    "\r 45%|▌         | 9/20 [01:40<01:02:05,  3.52s/it]\r"
    "{'loss': nan, 'grad_norm': inf, 'learning_rate': 2e-05, 'epoch': 1.0}\n"
    "\r 50%|▌         | 10/20 [02:00<00:05,  3.52it/s]"
    "\r 75%|▌         | 15/20 [02:00<00:05,  3.52it/s]{'loss': -inf, 'epoch': 1.5}\n"
    "\r 75%|▌         | 15/20 [02:00<00:05,  3.52it/s]\r"
    "{'loss': '4.5', 'learning_rate': '1e-05', 'epoch': '2.0'}\n"
    "\r100%|▌         | 20/20 [02:00<00:00,  3.52it/s]\r"
    "{'train_runtime': 4.2602, 'train_samples_per_second': 18.779, 'train_loss': 5.601, 'epoch': 2.0}\n"
    "\r100%|▌         | 20/20 [02:00<00:00,  3.52it/s]\n"
)


def losses(events: list[Event]) -> list[tuple[int, float]]:
    return [
        (event.step, event.loss) for event in events if isinstance(event, Metrics) and event.loss is not None
    ]


def test_steps_and_losses() -> None:
    parser = ConsoleParser()
    events = parser.feed(OUTPUT.encode())
    found = losses(events)
    assert [step for step, _ in found] == [1, 10, 15, 20]
    assert (
        found[0][1] == 5.6426 and math.isnan(found[1][1]) and found[2][1] == -math.inf and found[3][1] == 4.5
    )
    assert [event.total_steps for event in events if isinstance(event, Started)] == [20]
    assert next(event.eta_seconds for event in events if event.step == 9) == 3725
    first = next(event for event in events if isinstance(event, Metrics) and event.loss is not None)
    assert (first.grad_norm, first.learning_rate, first.num_tokens) == (2.78, 0.0, 208.0)
    assert parser.step == 20 and parser.final["train_loss"] == 5.601


def test_wherever_the_output_is_cut_the_losses_are_the_same() -> None:
    parser, events = ConsoleParser(), []
    for line in OUTPUT.encode().replace(b"\r", b"\r\0").split(b"\0"):
        events += parser.feed(line)
    assert [step for step, _ in losses(events)] == [1, 10, 15, 20]


def test_the_lines_of_its_command_line_say_the_same() -> None:
    """It makes a line of every drawing of a bar, and puts a clock and a level before it, sometimes twice."""
    clock = "2026-11-24 01:53:20,697 - INFO - "
    lines = [line for line in OUTPUT.replace("\n", "\r").split("\r")]
    logged = "".join(f"{clock * (1 + at % 2)}{line}\n" for at, line in enumerate(lines))
    assert losses(ConsoleParser().feed(logged.encode()))[0] == (1, 5.6426)
    assert [step for step, _ in losses(ConsoleParser().feed(logged.encode()))] == [1, 10, 15, 20]


def test_a_loss_that_nothing_follows_is_told_at_the_end() -> None:
    parser = ConsoleParser()
    assert not losses(parser.feed(b"\r 50%|5 | 1/2 [00:00<00:05,  3.52it/s]\r{'loss': 1.5, 'epoch': 1.0}\n"))
    assert losses(parser.close()) == [(1, 1.5)]
    assert parser.close() == []


def test_prefixes_go_and_the_rest_stays() -> None:
    assert plain_line("2026-11-24 01:53:20,697 - INFO - [rank0]: x - INFO - y") == "x - INFO - y"
    assert plain_line("  File 'a'") == "  File 'a'"
