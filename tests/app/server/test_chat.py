"""The chat API: answers with sources, streamed or not, in OpenAI's form."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.agents import CHAIN, QUESTION, UNKNOWN, Reader, reading
from support.chat_server import FakeServer, says
from support.server import ASK, api_key, bearer, chunks_of, client_of, joined

from hoptrail.agents import Budget, ServedModel
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.runs.models import RoleModels
from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.app.server.chat.openai_types import ChatMessage
from hoptrail.app.server.chat.sources import SOURCES_HEADING
from hoptrail.app.server.chat.tasks import task_answer, task_of
from hoptrail.app.server.server_settings import ServerSettings

CHAT = "/v1/chat/completions"


def ask(client: TestClient, headers: dict[str, str] | None = None, **fields: Any) -> Any:  # noqa: ANN401
    """The body of an answer that is not streamed."""
    answer = client.post(CHAT, json=ASK | fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(
    client: TestClient,
    headers: dict[str, str] | None = None,
    **fields: Any,  # noqa: ANN401
) -> list[dict[str, Any]]:
    """The chunks of an answer that is streamed."""
    answer = client.post(CHAT, json=ASK | {"stream": True} | fields, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return chunks_of(answer.text)


def content(body: dict[str, Any]) -> str:
    """The text of an answer that is not streamed."""
    return str(body["choices"][0]["message"]["content"])


def test_each_strategy_is_a_model_and_no_other_is(client: TestClient) -> None:
    listed = [one["id"] for one in client.get("/v1/models").json()["data"]]
    assert listed == ["hoptrail", *(f"hoptrail/{name}" for name in sorted(STRATEGIES))]
    assert client.get("/v1/models/hoptrail/pool").json()["id"] == "hoptrail/pool"
    for wrong in ("gpt-4", "hoptrail/", "hoptrail/none"):
        answer = client.post(CHAT, json=ASK | {"model": wrong})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert client.get(f"/v1/models/{wrong}").status_code == 404


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_answers_the_same_streamed_and_not(
    client: TestClient, strategy: str
) -> None:
    model = f"hoptrail/{strategy}"
    whole, chunks = ask(client, model=model), stream(client, model=model)
    assert joined(chunks) == content(whole)
    marks = [one for c in chunks for d in c["choices"] for one in d["delta"].get("annotations", ())]
    assert marks == whole["choices"][0]["message"]["annotations"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_marks_are_where_the_annotations_say_and_links_open_at_the_quote(
    client: TestClient,
) -> None:
    body = ask(client)
    text, message = content(body), body["choices"][0]["message"]
    assert message["annotations"]
    for number, one in enumerate(message["annotations"], 1):
        cited = one["url_citation"]
        assert one["type"] == "url_citation"
        assert text[cited["start_index"] : cited["end_index"]] == f"[{number}]"
        page = client.get(cited["url"], headers={"Accept": "text/html"})
        marked = page.text.partition('<mark id="span">')[2].partition("</mark>")[0]
        assert marked
        assert marked in text
        assert f"{number}. [{cited['title']}]({cited['url']})" in text.partition(SOURCES_HEADING)[2]


def test_the_receipt_of_an_answer_can_be_had(client: TestClient) -> None:
    body = ask(client)
    receipt = client.get(f"/v1/receipts/{body['hoptrail']['receipt_id']}").json()
    assert receipt["question"] == QUESTION
    assert receipt["outcome"]["kind"] == body["hoptrail"]["outcome"] == "quotes"
    for item in receipt["evidence"]:
        assert CHAIN[item["document_id"]][1][item["start"] : item["end"]] == item["quote"]
    assert client.get("/v1/receipts/../../secret").status_code == 404
    assert client.get(f"/v1/receipts/r-{'0' * 32}").status_code == 404


def test_the_list_of_sources_can_be_left_out(client: TestClient) -> None:
    text = content(ask(client, hoptrail={"source_list": False}))
    assert "[1]" in text
    assert SOURCES_HEADING not in text


def test_usage_is_the_last_chunk_where_it_is_wanted(client: TestClient) -> None:
    chunks = stream(client, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 0
    assert usage == ask(client)["usage"]
    assert all("usage" not in one for one in stream(client))


def test_stop_and_max_tokens_cut_the_answer_streamed_and_not(client: TestClient) -> None:
    whole = content(ask(client))
    for fields, finish in (
        ({"stop": "Ilsa"}, "stop"),
        ({"stop": ["nowhere to be found", "[2]"]}, "stop"),
        ({"max_tokens": 30}, "length"),
        ({"max_completion_tokens": 3, "max_tokens": 90}, "length"),
    ):
        body = ask(client, **fields)
        text = content(body)
        assert text
        assert whole.startswith(text)
        assert len(text) < len(whole)
        assert body["choices"][0]["finish_reason"] == finish
        assert body["usage"]["completion_tokens"] <= fields.get("max_tokens", 1000)
        assert joined(stream(client, **fields)) == text
        for one in body["choices"][0]["message"]["annotations"]:
            assert one["url_citation"]["end_index"] <= len(text)
    assert "Ilsa" not in content(ask(client, stop="Ilsa"))


def test_unknown_parameters_are_accepted_and_ignored(client: TestClient) -> None:
    plain = content(ask(client))
    more = {
        "temperature": 0.3, "top_p": 1, "n": 1, "seed": 7, "user": "u", "tools": [],
        "response_format": {"type": "text"}, "metadata": {"a": "b"}, "made_up": [1, {"x": None}],
    }  # fmt: skip
    assert content(ask(client, **more)) == plain


def test_parts_of_a_message_and_system_texts_are_read_as_they_should(client: TestClient) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "text", "text": QUESTION},
    ]
    messages = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": parts},
    ]
    assert content(ask(client, messages=messages)) == content(ask(client))


def test_a_question_leans_on_the_turns_before_it(client: TestClient) -> None:
    first = content(ask(client, messages=[{"role": "user", "content": "Who is Ilsa Corrin?"}]))
    messages = [
        {"role": "user", "content": "Who is Ilsa Corrin?"},
        {"role": "assistant", "content": f"<think>hm</think>{first}"},
        {"role": "user", "content": "Where was she born?"},
    ]
    body = ask(client, messages=messages)
    assert "Ilsa Corrin" in body["hoptrail"]["standalone_question"]
    assert "Tarn Hollow" in content(body)


@pytest.mark.parametrize(
    "messages", [[], [{"role": "system", "content": "x"}], [{"role": "user", "content": "  "}]]
)
def test_without_a_question_the_request_is_refused(
    client: TestClient, messages: list[dict[str, str]]
) -> None:
    answer = client.post(CHAT, json=ASK | {"messages": messages})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages"


def test_progress_is_told_as_thoughts_and_no_events_come_to_others(client: TestClient) -> None:
    chunks = stream(client)
    thoughts = joined(chunks, "reasoning_content")
    assert f"Hop 1: searching “{QUESTION}”" in thoughts
    assert "Hop 2: searching" in thoughts
    assert not any("event" in one for one in chunks)


@pytest.mark.parametrize(
    "asked",
    [{"headers": {"X-OpenWebUI-Chat-Id": "c1"}}, {"hoptrail": {"events": True}}],
)
def test_open_webui_gets_hops_and_sources_before_the_text(
    client: TestClient, asked: dict[str, Any]
) -> None:
    chunks = stream(client, **asked)
    kinds = [one["event"]["type"] if "event" in one else "chunk" for one in chunks]
    events = [one["event"] for one in chunks if "event" in one]
    statuses = [one["data"] for one in events if one["type"] == "status"]
    assert [one["done"] for one in statuses] == [False] * (len(statuses) - 1) + [True]
    assert any("Hop 2" in one["description"] for one in statuses)
    sources = [one["data"] for one in events if one["type"] == "source"]
    first_text = next(
        at for at, one in enumerate(chunks)
        if "event" not in one and one["choices"][0]["delta"].get("content")
    )  # fmt: skip
    assert max(at for at, kind in enumerate(kinds) if kind != "chunk") < first_text
    assert joined(chunks, "reasoning_content") == ""
    cited = ask(client)["choices"][0]["message"]["annotations"]
    ids = [one["metadata"][0]["source"] for one in sources]
    assert ids == [one["url_citation"]["url"] for one in cited]
    assert len(set(ids)) == len(ids)
    for one in sources:
        assert set(one) == {"source", "document", "metadata"}
        (quote,), (place,) = one["document"], one["metadata"]
        assert place["end"] - place["start"] == len(quote)
        assert joined(chunks).count(quote) == 1


def test_an_event_is_not_sent_where_the_key_says_off(chain_root: Path) -> None:
    keys = (api_key("k", events="off", source_list=False),)
    with client_of(ServerSettings(store=chain_root, keys=keys)) as client:
        chunks = stream(client, headers={"X-OpenWebUI-Chat-Id": "c1", **bearer("k")})
    assert not any("event" in one for one in chunks)
    assert SOURCES_HEADING not in joined(chunks)


def test_a_filter_keeps_to_some_documents(client: TestClient) -> None:
    body = ask(client, hoptrail={"where": {"kind": "d3"}})
    titles = {one["url_citation"]["title"] for one in body["choices"][0]["message"]["annotations"]}
    assert titles <= {"Tarn Hollow"}


def test_nothing_found_is_said_and_cites_nothing(client: TestClient) -> None:
    body = ask(client, messages=[{"role": "user", "content": UNKNOWN}])
    assert content(body).startswith("No answer:")
    assert body["choices"][0]["message"]["annotations"] == []
    assert body["hoptrail"]["outcome"] == "abstained"


class Forger(Reader):
    """A model that writes marks, links, images and HTML of its own."""

    def answer(self, request: ChatRequest) -> object:
        made = dict(super().answer(request))  # type: ignore[call-overload]
        text = "Ilsa Corrin was born at Tarn Hollow."
        made["claims"] = [{"text": text, "evidence": made["claims"][0]["evidence"]}]
        made["answer"] = "Tarn Hollow [7] ![x](https://evil.example/?q=1) <b>"
        return made


def test_a_served_model_answers_and_its_own_marks_and_links_are_broken(chain_root: Path) -> None:
    models = RoleModels(default=reading(Forger()))
    with client_of(ServerSettings(store=chain_root, models=models)) as client:
        body, chunks = ask(client), stream(client)
    text = content(body)
    assert joined(chunks) == text
    assert "Tarn Hollow" in text
    assert "[1]" in text
    assert "evil" not in text
    assert "<b>" not in text
    assert "[7]" not in text
    assert body["usage"]["prompt_tokens"] > 500, "the model's own tokens count"
    draft = joined(chunks, "reasoning_content")
    assert draft.index("Checking each claim") > draft.index("Tarn Hollow [7] ! [x] (link left out)")
    assert "< b>" in draft
    assert "evil" not in draft


def test_a_model_server_is_opened_once_for_all_questions(chain_root: Path) -> None:
    with FakeServer(says("hello")) as server:
        models = RoleModels(default=ServedModel(url=f"{server.url}/v1"))
        with client_of(ServerSettings(store=chain_root, models=models)) as client:
            opened = [one.path for one in server.requests].count("/v1/models")
            assert ask(client)["hoptrail"]["outcome"] == "quotes"
            assert ask(client)["hoptrail"]["outcome"] == "quotes"
            assert len(server.chats) > 2
        assert opened == [one.path for one in server.requests].count("/v1/models") == 1


def test_without_its_model_server_it_begins_and_says_so_of_each_question(
    chain_root: Path,
) -> None:
    models = RoleModels(default=ServedModel(url="http://127.0.0.1:9/v1"))
    with client_of(ServerSettings(store=chain_root, models=models)) as client:
        for streamed in (False, True):
            answer = client.post(CHAT, json=ASK | {"stream": streamed})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["error"]["code"] == "model_failed"
            assert "127.0.0.1:9" not in answer.text
        assert client.get("/readyz").status_code == 200


def test_a_key_s_calls_a_minute_are_its_own(chain_root: Path) -> None:
    keys = (
        api_key("few", calls_per_minute=1, budget=Budget(seconds=3.0)),
        api_key("any", budget=Budget(seconds=60.0)),
    )
    models = RoleModels(default=reading())
    with client_of(ServerSettings(store=chain_root, keys=keys, models=models)) as client:
        outcomes = {
            key: ask(client, headers=bearer(key))["hoptrail"]["outcome"] for key in ("few", "any")
        }
    assert outcomes["any"] == "answered"
    assert outcomes["few"] != "answered"


def test_errors_have_openais_shape(client: TestClient) -> None:
    for sent, status in (
        (b"{", 400), (b"[]", 400), (b'"x"', 400), (b"\xff\xfe", 400), (b"[" * 100_000, 400),
        (b'{"model": 1, "messages": []}', 400), (json.dumps(ASK | {"stop": 7}).encode(), 400),
        (json.dumps(ASK | {"max_tokens": 0}).encode(), 400),
        (json.dumps(ASK).replace("Heron", "\\ud800").encode(), 400),
        (json.dumps(ASK | {"hoptrail": {"where": {"x": [1]}}}).encode(), 400),
        (json.dumps(ASK | {"messages": [{"role": "user", "content": "x" * 20_001}]}).encode(), 400),
    ):  # fmt: skip
        answer = client.post(CHAT, content=sent, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, sent[:80]
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert "Traceback" not in answer.text
    assert client.get("/nowhere").json()["error"]["code"] == "not_found"
    assert client.get(CHAT).json()["error"]["code"] == "method_not_allowed"


TASK = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Output:
JSON format: { "title": "your concise title here" }
### Chat History:
<chat_history>
USER: Where was the first master of the Heron born?
ASSISTANT: At Tarn Hollow.
</chat_history>"""


@pytest.mark.parametrize(
    ("header", "prompt", "field"),
    [
        ("title_generation", "anything", "title"),
        ("tags_generation", TASK, "tags"),
        ("follow_up_generation", TASK, "follow_ups"),
        ("query_generation", TASK, "queries"),
        (None, TASK, "title"),
        (None, TASK.replace('"title"', '"tags"'), "tags"),
        (None, TASK.replace('"title"', '"follow_ups"'), "follow_ups"),
    ],
)
def test_tasks_are_answered_by_rule_without_a_search(
    client: TestClient, header: str | None, prompt: str, field: str
) -> None:
    headers = {"X-OpenWebUI-Task": header} if header else {}
    fields = {"messages": [{"role": "user", "content": prompt}]}
    body = ask(client, headers=headers, **fields)
    assert field in json.loads(content(body))
    assert body["hoptrail"] is None
    assert joined(stream(client, headers=headers, **fields)) == content(body)


def test_a_title_is_the_question_s_key_words() -> None:
    asked = [ChatMessage(role="user", content=TASK)]
    assert task_of(None, asked) == "title_generation"
    assert task_answer("title_generation", asked) == '{"title": "First master Heron"}'
    plain = [ChatMessage(role="user", content="Give me a short title for a poem about herons.")]
    assert task_of(None, plain) is None
    assert task_of("{{TASK}}", plain) is None
    began = time.perf_counter()
    for _ in range(100):
        task_answer("title_generation", asked)
    assert time.perf_counter() - began < 5, "100 titles"


def test_metrics_count_without_naming_anybody(client: TestClient) -> None:
    ask(client)
    text = client.get("/metrics").text
    assert 'hoptrail_questions_total{outcome="quotes",stop=' in text
    assert 'route="/v1/chat/completions",status="200"' in text
    assert "default" not in text
    assert "Heron" not in text
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
