"""Models by role: which server each role asks, what it may think, and what a run remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.agents import QUESTION, QUOTES, make_chain, open_chain, reading
from support.chat_server import FakeServer, Seen, hang, says

from hoptrail.agents import (
    Budget,
    KnowledgeBase,
    ModelClient,
    Receipt,
    RoleModel,
    RoleModels,
    ServedModel,
    aask,
    ask,
    replay,
    resume,
)
from hoptrail.agents.llm.delimiters import cache_salt
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, ChatRequest, Message, ModelUnavailable, ServerInfo
from hoptrail.agents.runs.models import ROLES
from hoptrail.rag.errors import ModelError, SettingsError

FORMS = {"PlanForm": "planner", "RefineForm": "refiner", "AssessForm": "assessor",
         "QueriesForm": "query_writer", "AnswerForm": "answerer",
         "BriefForm": "answerer"}  # fmt: skip


def roles_asked(endpoint: ScriptedEndpoint) -> set[str]:
    return {FORMS[request.schema_name] for request in endpoint.requests}


def test_a_role_may_have_a_model_of_its_own(library: KnowledgeBase, tmp_path: Path) -> None:
    usual, own = reading(), reading(model="large")
    models = RoleModels(
        default=usual, roles={"planner": RoleModel(model=own), "answerer": RoleModel(model=own)}
    )
    file = tmp_path / "run.jsonl"
    receipt = ask(QUESTION, library, model=models, record=file, settings=QUOTES)
    assert roles_asked(own) == {"planner", "answerer"}
    assert roles_asked(usual) == {"refiner", "assessor", "query_writer"}
    assert (receipt.model, receipt.fallbacks) == ("large", 0)
    used = {step.use.role: step.use.model for step in receipt.steps if step.use}
    assert (used["plan"], used["refine"], used["answer"]) == ("large", "scripted", "large")
    assert replay(file).same


def test_a_role_without_a_model_is_played_locally(library: KnowledgeBase, tmp_path: Path) -> None:
    answerer = reading()
    models = RoleModels(roles={"answerer": RoleModel(model=answerer)})
    file = tmp_path / "run.jsonl"
    receipt = ask(QUESTION, library, model=models, record=file)
    assert roles_asked(answerer) == {"answerer"}
    assert (receipt.model, receipt.extractive) == ("scripted", False)
    assert replay(file).same


def test_the_answerer_thinks_and_other_roles_do_not_unless_they_are_told(
    library: KnowledgeBase,
) -> None:
    def thinking(**roles: RoleModel) -> dict[str, bool | None]:
        endpoint = reading()
        ask(QUESTION, library, model=RoleModels(default=endpoint, roles=roles))
        return {FORMS[request.schema_name]: request.thinking for request in endpoint.requests}

    assert [role for role, on in thinking().items() if on] == ["answerer"]
    told = thinking(planner=RoleModel(thinking=True), answerer=RoleModel(thinking=False))
    assert [role for role, on in told.items() if on] == ["planner"]


def test_thoughts_have_a_limit_of_their_own(library: KnowledgeBase) -> None:
    endpoint = reading()
    roles = {
        "planner": RoleModel(thinking=True, thought_tokens=500),
        "refiner": RoleModel(thought_tokens=700),
        "answerer": RoleModel(thought_tokens=100),
    }
    models = RoleModels(default=endpoint, roles=roles)
    ask(QUESTION, library, model=models, settings=QUOTES)
    limits = {FORMS[request.schema_name]: request.max_tokens for request in endpoint.requests}
    assert (limits["planner"], limits["refiner"], limits["answerer"]) == (1_140, 96, 900)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"plannner": RoleModel()}, "There is no role 'plannner': use one of rewriter, planner"),
        ({"planner": RoleModel(thought_tokens=-1)}, "-1 tokens for thoughts must be a whole"),
    ],
)
def test_wrong_models_are_refused(roles: dict[str, RoleModel], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RoleModels(roles=roles)


def test_equal_models_are_opened_once() -> None:
    small, large = ServedModel(url="http://a"), ServedModel(url="http://b", name="large")
    models = RoleModels(
        default=small,
        roles={
            "planner": RoleModel(model=replace(small)),
            "answerer": RoleModel(model=large),
            "verifier": RoleModel(model=replace(large)),
        },
    )
    assert models.servers() == {"": small, "answerer": large}
    assert {role: models.server_of(role) for role in ROLES if models.server_of(role)} == {
        "answerer": "answerer", "verifier": "answerer",
    }  # fmt: skip


class Crash(BaseException):
    """What nothing catches."""


def crashed(root: Path, models: RoleModels) -> str:
    """The id of a run that broke off at its second step."""
    seen = []

    def break_off(event: object) -> None:
        seen.append(event)
        if type(event).__name__ == "HitsFound":
            raise Crash

    with open_chain(root, keep=True) as library, pytest.raises(Crash):
        ask(QUESTION, library, model=models, on_event=break_off)
    with open_chain(root, keep=True) as library:
        (run,) = library.unfinished_runs()
    return run


def test_a_resumed_run_opens_the_models_of_each_role_again(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")
    with served_reader() as usual, served_reader() as own:
        models = RoleModels(
            default=ServedModel(url=usual.url, api_key="usual-key"),
            roles={
                "answerer": RoleModel(
                    model=ServedModel(url=own.url, api_key="own-key"), thought_tokens=64
                ),
                "assessor": RoleModel(thinking=True),
            },
        )
        run = crashed(root, models)
        assert not own.chats[1:]  # the probe alone
        with open_chain(root, keep=True) as library:
            folder = (library.runs or Path()) / run
            kept = "".join(p.read_text("utf-8", "replace") for p in folder.iterdir() if p.is_file())
            assert "own-key" not in kept
            assert "usual-key" not in kept
            receipt = resume(run, library)
        assert own.chats[-1]["response_format"]["json_schema"]["name"] == "BriefForm"
        assert own.chats[-1]["max_tokens"] == 864
        switched = {
            chat["response_format"]["json_schema"]["name"]: chat["chat_template_kwargs"]
            for chat in usual.chats
        }
        assert switched["AssessForm"] == {"enable_thinking": True}
        assert switched["QueriesForm"] == {"enable_thinking": False}
    assert (receipt.answer, receipt.fallbacks) == ("Tarn Hollow", 0)


def test_an_endpoint_of_a_role_must_be_given_again(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")
    models = RoleModels(default=reading(), roles={"answerer": RoleModel(model=reading())})
    run = crashed(root, models)
    with open_chain(root, keep=True) as library:
        for given in (None, reading()):
            with pytest.raises(SettingsError, match="Endpoint object, which cannot be restored"):
                resume(run, library, model=given)
        again = RoleModels(default=reading(), roles={"answerer": RoleModel(model=reading())})
        assert resume(run, library, model=again).answer == "Tarn Hollow"


# A client that runs share


def served_reader() -> FakeServer:
    """A server on loopback that reads as `support.agents.Reader` does."""
    reader = reading()

    async def behave(exchange: Any) -> None:  # noqa: ANN401
        body = exchange.request.body
        form = body["response_format"]["json_schema"]
        if form["name"] == "probe":
            await says('{"word":"qzv7kx"}')(exchange)
            return
        request = ChatRequest(
            messages=tuple(_message(one) for one in body["messages"]),
            schema=form["schema"],
            schema_name=form["name"],
            max_tokens=body["max_tokens"],
        )
        reply = await reader.attempt(request, timeout=9)
        await says(reply.text)(exchange)

    return FakeServer(behave)


def _message(one: dict[str, Any]) -> Message:
    return Message(role=one["role"], content=one["content"])


def paths(requests: list[Seen]) -> list[str]:
    return [seen.path for seen in requests]


def test_a_shared_client_asks_once_what_the_server_is_and_salts_each_tenants_requests(
    tmp_path: Path,
) -> None:
    roots = [make_chain(tmp_path / name) for name in ("a", "b")]
    with served_reader() as server:

        async def main() -> list[Receipt]:
            with open_chain(roots[0]) as first, open_chain(roots[1]) as second:
                async with ModelClient(ServedModel(url=server.url)) as client:
                    assert paths(server.requests)[:2] == ["/v1/models", "/tokenize"]
                    assert len(server.chats) == 1
                    salts.extend(cache_salt(one.secret) for one in (first, second))
                    return await asyncio.gather(
                        *(aask(QUESTION, one, model=client) for one in (first, second, first))
                    )

        salts: list[str] = []
        receipts = asyncio.run(main())
        assert paths(server.requests).count("/v1/models") == 1
        names = [chat["response_format"]["json_schema"]["name"] for chat in server.chats]
        assert names.count("probe") == 1
        assert "cache_salt" not in server.chats[0]
        used = [chat["cache_salt"] for chat in server.chats[1:]]
        assert set(used) == set(salts)
        assert len(set(salts)) == 2
        assert used.count(salts[0]) == 2 * used.count(salts[1])
        assert server.connections <= 4
    assert [receipt.answer for receipt in receipts] == ["Tarn Hollow"] * 3
    assert all(receipt.usage.calls == 5 for receipt in receipts)  # no probe of their own


def test_a_client_is_of_the_loop_that_opened_it(library: KnowledgeBase) -> None:
    with served_reader() as server:
        client = ModelClient(ServedModel(url=server.url))
        with pytest.raises(SettingsError, match="not open in this event loop"):
            ask(QUESTION, library, model=client)
        asyncio.run(client.aclose())


def test_a_client_of_a_server_that_hangs_is_not_opened() -> None:
    async def main(server: FakeServer) -> None:
        async with ModelClient(ServedModel(url=server.url), seconds=0.5):
            raise AssertionError("unreachable")

    for server in (FakeServer(hang), FakeServer(models=hang)):
        with server, pytest.raises(ModelUnavailable):
            asyncio.run(main(server))


def test_a_run_that_had_a_client_is_resumed_by_its_address(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")
    with served_reader() as server:

        async def main() -> None:
            with open_chain(root, keep=True) as library:
                async with ModelClient(ServedModel(url=server.url)) as client:
                    cut = asyncio.create_task(aask(QUESTION, library, model=client))
                    while len(server.chats) < 3:
                        await asyncio.sleep(0.01)
                    cut.cancel()
                    await asyncio.gather(cut, return_exceptions=True)

        asyncio.run(main())
        with open_chain(root, keep=True) as library:
            (run,) = library.unfinished_runs()
            assert resume(run, library).answer == "Tarn Hollow"


# Endpoints with bugs


class Buggy(ScriptedEndpoint):
    """An endpoint that fails at answers as nothing should."""

    def __init__(self, fault: Callable[[], object]) -> None:
        super().__init__()
        self.fault = fault
        self.reader = reading()

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        if request.schema_name == "BriefForm":
            return self.fault()  # type: ignore[return-value]
        return await self.reader.attempt(request, timeout=timeout, on_delta=on_delta)


def raised(error: BaseException) -> Callable[[], object]:
    def fault() -> object:
        raise error

    return fault


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (raised(KeyError("choices")), "endpoint_error: KeyError: 'choices'"),
        (raised(ValueError("two\nlines")), "endpoint_error: ValueError: two lines"),
        (lambda: "Tarn Hollow", "endpoint_error: replies with str, no ChatReply"),
    ],
)
def test_a_bug_in_an_endpoint_is_a_failed_call_with_its_text(
    library: KnowledgeBase, tmp_path: Path, fault: Callable[[], object], problem: str
) -> None:
    file = tmp_path / "run.jsonl"
    receipt = ask(QUESTION, library, model=Buggy(fault), record=file)
    (use,) = [step.use for step in receipt.steps if step.use and step.use.role == "answer"]
    assert (use.failure, use.problem, use.attempts) == ("endpoint_error", problem, 1)
    assert (receipt.fallbacks, receipt.extractive) == (1, True)
    assert receipt.stop == "sufficient"
    assert replay(file).same


def test_what_is_no_bug_of_an_endpoint_is_not_taken_for_one(library: KnowledgeBase) -> None:
    with pytest.raises(ModelError, match="mine"):
        ask(QUESTION, library, model=Buggy(raised(ModelError("mine"))))

    def listen(event: object) -> None:
        if type(event).__name__ == "AnswerDelta":
            raise ZeroDivisionError("the listener's")

    with pytest.raises(ZeroDivisionError, match="the listener's"):
        ask(QUESTION, library, model=reading(), on_event=listen)


def test_an_endpoint_that_cannot_say_what_it_is_leaves_the_local_players(
    library: KnowledgeBase,
) -> None:
    class Nameless(ScriptedEndpoint):
        async def info(self) -> ServerInfo:
            raise KeyError("model")

    receipt = ask(QUESTION, library, model=Nameless())
    assert (receipt.model, receipt.extractive) == ("", True)
    assert receipt.flags == (
        "start: The endpoint fails with KeyError: 'model'. The local players stand in.",
    )


def test_an_endpoint_that_ignores_its_deadline_is_cut_at_it(library: KnowledgeBase) -> None:
    class Endless(ScriptedEndpoint):
        async def attempt(self, request: ChatRequest, **_: object) -> ChatReply:
            await asyncio.sleep(3_600)
            raise AssertionError("unreachable")

    receipt = ask(QUESTION, library, model=Endless(), budget=Budget(seconds=2))
    assert receipt.stop == "out_of_time"
    assert receipt.usage.seconds < 10
