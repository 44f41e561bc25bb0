"""A server that fails in every way: one result a question, never a hang, never a lost row."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from qdl_engine.core.errors import ModelError
from qdl_engine.settings.address import Secret
from qdl_engine.teachers.base import Failure, Question, Result, TeacherAnswer
from qdl_engine.teachers.budget import Budget, Prices
from qdl_engine.teachers.client import ChatClient, Endpoint, Retry
from qdl_engine.teachers.server import Pace, ask_each, iterate
from tests.engine.teachers.fault_server import ENDLESS, FAULTS, FaultServer

QUICK = Retry(times=3, base=0.001, longest=0.002)


def endpoint(server: FaultServer, **values: Any) -> Endpoint:
    return replace(Endpoint(server.url, timeout=30.0, retry=QUICK, max_new_tokens=50), **values)


def ask(place: Endpoint, instructions: list[str], budget: Budget | None = None) -> list[tuple[int, Result]]:
    questions = [Question(text, "Be brief.") for text in instructions]

    async def results() -> Any:
        async with ChatClient(place) as client:
            async for item in ask_each(client, questions, budget or Budget()):
                yield item

    return list(iterate(results))


def one(server: FaultServer, fault: str, **values: Any) -> Result:
    """The result of one faulty question, asked of a server that has answered others before."""
    results = dict(ask(endpoint(server, concurrency=1, **values), ["hello", fault]))
    assert len(results) == 2
    return results[1]


def test_each_question_is_answered_once(server: FaultServer) -> None:
    instructions = [f"question {number}" for number in range(50)]
    results = ask(endpoint(server), instructions)
    assert sorted(index for index, _ in results) == list(range(50))
    for index, result in results:
        assert isinstance(result, TeacherAnswer)
        assert (result.text, result.tokens, result.prompt_tokens) == (f"QUESTION {index}", 2, 10)
    assert set(server.attempts.values()) == {1}
    payload = server.payloads[0]
    assert payload["model"] == "the-model"
    assert payload["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (payload["max_tokens"], payload["temperature"]) == (50, 0.0)


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [("429 twice", 3), ("429 with retry-after", 2), ("500 twice", 3), ("rubbish once", 2)],
)
def test_what_passes_is_answered(server: FaultServer, fault: str, attempts: int) -> None:
    result = one(server, fault)
    assert isinstance(result, TeacherAnswer) and result.text == "at last"
    assert server.attempts[fault] == attempts


@pytest.mark.parametrize(
    ("fault", "kind", "attempts"),
    [
        ("429 always", "rate limited", 4),
        ("429 for an hour", "rate limited", 1),
        ("500 always", "server error", 4),
        ("400", "refused", 1),
        ("filtered", "refused", 1),
        ("redirect", "refused", 1),
        ("half a body", "connection", 4),
        ("hang up", "connection", 4),
        ("rubbish", "bad reply", 2),
        ("no choices", "bad reply", 2),
        ("a list", "bad reply", 2),
        ("null", "bad reply", 2),
        ("an error as 200", "bad reply", 2),
        ("html", "bad reply", 2),
        ("half a stream", "bad reply", 2),
    ],
)
def test_what_stays_is_one_counted_error(server: FaultServer, fault: str, kind: str, attempts: int) -> None:
    result = one(server, fault)
    assert isinstance(result, Failure)
    assert result.kind == kind and result.message and "\x1b" not in result.message
    assert server.attempts[fault] == attempts


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_never_ends_meets_the_time_limit(server: FaultServer, fault: str) -> None:
    """Asked alone: that its time is up is certain, however slow this machine is."""
    results = ask(endpoint(server, timeout=0.3, retry=replace(QUICK, times=1)), [fault])
    assert [result for _, result in results] == [Failure("timeout", "no answer within 0.3 s")]
    assert server.attempts[fault] == 2


@pytest.mark.parametrize(
    ("fault", "text"), [("plain text type", "fine"), ("a stream", "piece by piece"), ("cut", "and then")]
)
def test_odd_but_whole_replies_are_answers(server: FaultServer, fault: str, text: str) -> None:
    result = one(server, fault)
    assert isinstance(result, TeacherAnswer) and result.text.strip() == text


def test_reasons_of_answers(server: FaultServer) -> None:
    reasons = {}
    for fault in ("cut", "empty", "too long", "only reasons"):
        result = one(server, fault)
        assert isinstance(result, TeacherAnswer)
        reasons[fault] = result.reason
    assert reasons == {"cut": "cut", "empty": "empty", "too long": "too long", "only reasons": "cut"}


def test_reasoning_in_a_field_of_its_own_comes_back_in_our_tags(server: FaultServer) -> None:
    answer, cut = one(server, "reasons"), one(server, "only reasons")
    assert isinstance(answer, TeacherAnswer) and isinstance(cut, TeacherAnswer)
    assert answer.completion == "<think>\nsix times seven\n</think>\n42"
    assert cut.completion == "<think>\nsix times"


def test_all_faults_at_once_end_with_one_result_each(server: FaultServer) -> None:
    faults = [
        f"{fault} #{copy}" for fault in sorted(set(FAULTS) - ENDLESS - {"new name"}) for copy in range(2)
    ]
    instructions = [text for fault in faults for text in (f"fine {fault}", fault)]
    results = ask(endpoint(server), instructions)
    assert sorted(index for index, _ in results) == list(range(len(instructions)))
    for index, result in results:
        assert instructions[index].startswith("fine") <= isinstance(result, TeacherAnswer)


def test_the_width_grows_to_the_limit_and_trouble_narrows_it(server: FaultServer) -> None:
    ask(endpoint(server, concurrency=1), [f"a {number}" for number in range(10)])
    assert server.most_active == 1
    ask(endpoint(server, concurrency=6), [f"b {number}" for number in range(100)])
    assert server.most_active <= 6


class TestAServerThatIsTheTrouble:
    def test_nobody_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = Endpoint(f"http://127.0.0.1:{free.getsockname()[1]}/v1", "m", retry=QUICK)
            with pytest.raises(ModelError, match=r"No answer from the server at http://127") as caught:
                ask(place, ["hello"])
        assert "teacher.url" in caught.value.hint

    def test_a_refused_key_is_never_shown(self, server: FaultServer) -> None:
        server.key = "sk-right"
        with pytest.raises(ModelError, match="rejects the key") as caught:
            ask(endpoint(server, key=Secret("sk-wrong")), ["hello"])
        assert "sk-wrong" not in str(caught.value) and "***" in str(caught.value)
        assert "sk-wrong" not in repr(endpoint(server, key=Secret("sk-wrong")))
        assert ask(endpoint(server, key=Secret("sk-right")), ["hello"])

    def test_a_model_it_does_not_have(self, server: FaultServer) -> None:
        with pytest.raises(ModelError, match="does not know other"):
            ask(endpoint(server, model="other"), ["hello"])

    def test_a_redirect_is_not_followed(self, server: FaultServer) -> None:
        with pytest.raises(ModelError, match=r"redirects to .*http://elsewhere.invalid") as caught:
            ask(endpoint(server), ["redirect"])
        assert "teacher.url" in caught.value.hint

    def test_none_or_several_models_must_be_named(self, server: FaultServer) -> None:
        server.models = ["a", "b"]
        with pytest.raises(ModelError, match="has 2 models") as caught:
            ask(endpoint(server), ["hello"])
        assert "a, b" in caught.value.hint
        server.models = []
        with pytest.raises(ModelError, match="has 0 models"):
            ask(endpoint(server), ["hello"])

    def test_a_server_that_dies_on_the_way_stops_the_asking(self, server: FaultServer) -> None:
        instructions = ["hello", *(f"500 always #{number}" for number in range(100))]
        with pytest.raises(ModelError, match="No answer from the server"):
            ask(endpoint(server, concurrency=1), instructions)
        assert len(server.attempts) == 1 + 20

    def test_one_that_never_answered_is_given_up_sooner(self, server: FaultServer) -> None:
        with pytest.raises(ModelError, match="slow down"):
            ask(endpoint(server, concurrency=1), [f"429 always #{number}" for number in range(100)])
        assert len(server.attempts) == 3


class TestBudget:
    def test_tokens_stop_the_asking_and_are_never_exceeded(self, server: FaultServer) -> None:
        budget = Budget(tokens=500)
        instructions = [f"question {number}" for number in range(200)]
        results = ask(endpoint(server), instructions, budget)
        assert budget.exhausted and budget.spent <= 500
        assert 20 < len({index for index, _ in results}) == len(results) < 200

    def test_money(self, server: FaultServer) -> None:
        budget = Budget(money=0.01, prices=Prices(100, 400))
        results = ask(endpoint(server, max_new_tokens=5), [f"q {number}" for number in range(50)], budget)
        assert budget.exhausted and 0 < budget.cost <= 0.01
        assert budget.cost == pytest.approx(len(results) * (10 * 100 + 2 * 400) / 1e6)

    def test_too_little_for_one_answer_asks_nothing(self, server: FaultServer) -> None:
        budget = Budget(tokens=50)
        assert ask(endpoint(server), ["hello"], budget) == []
        assert budget.exhausted and not server.attempts

    def test_enough_is_enough(self, server: FaultServer) -> None:
        budget = Budget(tokens=100_000)
        assert len(ask(endpoint(server), ["a", "b", "c"], budget)) == 3
        assert not budget.exhausted


def test_leaving_early_cancels_what_is_under_way(server: FaultServer) -> None:
    """The reader leaves while requests hang: the generator ends, its tasks with it."""
    ended = []

    async def results() -> Any:
        try:
            async with ChatClient(endpoint(server, timeout=600.0)) as client:
                questions = [Question(text, "") for text in ["hello", *(f"hang #{n}" for n in range(4))]]
                async for item in ask_each(client, questions, Budget()):
                    yield item
        finally:
            ended.append(len(asyncio.all_tasks()))

    items = iterate(results)
    assert next(items)[0] == 0
    items.close()  # type: ignore[attr-defined]
    assert ended == [1]


def test_the_width_grows_by_one_a_window_up_to_the_limit() -> None:
    pace, widths = Pace(5), []
    for _ in range(30):
        widths.append(pace.width)
        pace.success()
    assert widths[:10] == [2, 2, 3, 3, 3, 4, 4, 4, 4, 5]
    assert widths[-1] == 5


async def test_one_burst_of_trouble_halves_once() -> None:
    pace = Pace(8)
    pace.width = 8
    async with pace.turn() as first, pace.turn() as second:
        pace.trouble(first)
        pace.trouble(second)
    assert pace.width == 4
    async with pace.turn() as later:
        pace.trouble(later)
    assert pace.width == 2
    for _ in range(5):
        async with pace.turn() as later:
            pace.trouble(later)
    assert pace.width == 1
