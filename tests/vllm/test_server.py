# mypy: disable-error-code="import-untyped"
"""What the real server does with plain HTTP: the facts that hoptrail's client is built on.

Written down where they surprised us (vLLM 0.32.0): the shapes of errors, what is clamped in
silence, what a stream looks like when it ends or is cut.
"""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema
import pytest

from .server import VllmServer  # noqa: TID252 (see conftest.py)
from .talk import CHAT, Json, ask, data_lines, refused, request, wait_until_idle  # noqa: TID252

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "action": {"enum": ["search", "read", "answer"]},
        "query": {"type": "string", "maxLength": 40},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "ids": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
    },
    "required": ["action", "query", "score", "ids"],
    "additionalProperties": False,
}
RESPONSE_FORMAT: Json = {
    "type": "json_schema",
    "json_schema": {"name": "step", "schema": SCHEMA, "strict": True},
}


@pytest.fixture
def chat(vllm_chat: VllmServer) -> Iterator[httpx.Client]:
    """A client of the chat server, with the right key."""
    with vllm_chat.client() as client:
        yield client


# Answers


def test_fifty_of_fifty_answers_obey_the_schema(chat: httpx.Client) -> None:
    """A random model emits every legal value, so this is the schema's worst user.

    Without disable_any_whitespace (see server.py) it would write blanks until max_tokens. maxLength
    counts characters; one of four bytes costs this tokenizer four tokens.
    """

    def answer(seed: int) -> Json:
        return ask(chat, request(response_format=RESPONSE_FORMAT, max_tokens=600, seed=seed))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, range(50)))
    assert [a["choices"][0]["finish_reason"] for a in answers] == ["stop"] * 50
    values = [json.loads(a["choices"][0]["message"]["content"]) for a in answers]
    for value in values:
        jsonschema.validate(value, SCHEMA)
    assert len({json.dumps(value) for value in values}) > 40


def test_a_seed_repeats_an_answer(chat: httpx.Client) -> None:
    body = request(max_tokens=20, seed=11)
    first, second = (ask(chat, body)["choices"][0]["message"]["content"] for _ in range(2))
    assert first == second


def test_an_answer_cut_at_max_tokens_says_length_and_its_json_is_broken(
    chat: httpx.Client,
) -> None:
    choice = ask(chat, request(response_format=RESPONSE_FORMAT, max_tokens=5))["choices"][0]
    assert choice["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["content"])


def test_usage_adds_up(chat: httpx.Client) -> None:
    usage = ask(chat, request(max_tokens=7))["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["total_tokens"] == usage["prompt_tokens"] + 7


def test_a_choice_comes_with_the_probabilities_of_its_labels(chat: httpx.Client) -> None:
    """The log-probabilities are those after the constraint: what it forbids has -9999."""
    body = request(
        structured_outputs={"choice": ["yes", "no"]}, logprobs=True, top_logprobs=2, max_tokens=4
    )
    choice = ask(chat, body)["choices"][0]
    assert choice["message"]["content"] in {"yes", "no"}
    first = choice["logprobs"]["content"][0]
    assert first["logprob"] in [top["logprob"] for top in first["top_logprobs"]]


def test_removed_guided_fields_are_ignored_in_silence(chat: httpx.Client) -> None:
    """HTTP 200 and free text: only a probe can tell that a constraint does not bind."""
    choice = ask(chat, request(guided_choice=["yes"], max_tokens=4, seed=1))["choices"][0]
    assert choice["message"]["content"] != "yes"


def test_thinking_can_be_switched_off_for_one_request(chat: httpx.Client) -> None:
    """The template then adds an empty thought to the prompt, which its length shows."""
    usual = ask(chat, request(max_tokens=1))["usage"]["prompt_tokens"]
    off = request(max_tokens=1, chat_template_kwargs={"enable_thinking": False})
    assert ask(chat, off)["usage"]["prompt_tokens"] > usual


def test_cache_salt_is_accepted_but_not_empty(chat: httpx.Client) -> None:
    ask(chat, request(max_tokens=1, cache_salt="a tenant's secret"))
    assert "cache_salt" in refused(chat, request(max_tokens=1, cache_salt=""), 400)["message"]


def test_labelled_questions_are_answered_with_probabilities(chat: httpx.Client) -> None:
    """/v1/systemone reads the labels' probabilities after one prefill a question.

    0.32.0 knows choice, score and noul; any other type is a 400 that lists them.
    """
    questions = {"colour": {"type": "choice", "criteria": {"red": None, "blue": "as the sky"}}}
    body = {"model": "tiny", "state": "The sky is blue.", "questions": questions}
    response = chat.post("/v1/systemone", json=body)
    assert response.status_code == 200, response.text
    assert set(response.json()["answers"]) == {"colour"}
    assert 0 <= response.json()["diagnostics"]["colour"]["label_mass"] <= 1


# Streams


def test_a_stream_ends_with_the_reason_then_the_usage_then_done(chat: httpx.Client) -> None:
    """The usage comes in a chunk of its own without choices; `choices[0]` of it would fail."""
    body = request(max_tokens=6, stream=True, stream_options={"include_usage": True})
    with chat.stream("POST", CHAT, json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *lines, done = data_lines(response)
    assert done == "[DONE]"
    first, *middle, last = (json.loads(line) for line in lines)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in middle][-1] == "length"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 6
    assert all("usage" not in chunk for chunk in middle)


def test_a_stream_without_stream_options_has_no_usage_at_all(chat: httpx.Client) -> None:
    with chat.stream("POST", CHAT, json=request(max_tokens=3, stream=True)) as response:
        assert not any('"usage"' in line for line in data_lines(response))


def test_a_refused_stream_is_plain_json_with_its_status(chat: httpx.Client) -> None:
    response = chat.post(CHAT, json=request(stream=True) | {"model": "no-such-model"})
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_hangs_up_frees_the_slot(
    vllm_chat: VllmServer, chat: httpx.Client, stream: bool
) -> None:
    """Both ways the engine drops the request at once: most of its tokens are never generated.

    Only the gauges tell: request_success_total{finished_reason="abort"} stays 0 (seen).
    """
    before = vllm_chat.metrics()["generation_tokens_total"]
    body = request(max_tokens=2000, ignore_eos=True, stream=stream)
    if stream:
        with chat.stream("POST", CHAT, json=body) as response:
            # The first chunk (the role) is sent before the request runs: wait for some text.
            list(itertools.islice(data_lines(response), 5))
    else:
        with pytest.raises(httpx.ReadTimeout):
            chat.post(CHAT, json=body, timeout=1.0)
    wait_until_idle(vllm_chat)
    assert vllm_chat.metrics()["generation_tokens_total"] - before < 2000


# Refusals


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
def test_a_wrong_key_is_401_and_the_error_is_a_bare_string(
    vllm_chat: VllmServer, headers: dict[str, str]
) -> None:
    """The only error whose "error" is no object, and there is no www-authenticate header."""
    response = httpx.post(vllm_chat.url + CHAT, json=request(), headers=headers)
    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized"}
    assert "www-authenticate" not in response.headers


def test_an_unknown_model_is_404(chat: httpx.Client) -> None:
    error = refused(chat, request() | {"model": "no-such-model"}, 404)
    assert (error["type"], error["param"], error["code"]) == ("NotFoundError", "model", 404)


def test_an_unknown_path_is_404_without_an_error_object(chat: httpx.Client) -> None:
    response = chat.post("/v1/no-such-path", json={})
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


def test_an_overlong_prompt_is_400_and_does_not_say_how_long_it_is(chat: httpx.Client) -> None:
    """The count stops at one over the limit: "at least 2049 input tokens", whatever the length."""
    error = refused(chat, request("word " * 5000, max_tokens=8), 400)
    assert (error["type"], error["param"], error["code"]) == (
        "BadRequestError",
        "input_tokens",
        400,
    )
    assert "2049" in error["message"]


def test_a_max_tokens_that_does_not_fit_after_the_prompt_is_clamped_in_silence(
    chat: httpx.Client,
) -> None:
    """Only max_tokens beyond the whole context is refused. (A digit is a token here.)"""
    body = request("7" * 1900, max_tokens=2000, ignore_eos=True)
    answer = ask(chat, body)
    assert answer["usage"]["total_tokens"] == 2048
    assert answer["usage"]["completion_tokens"] < 2000
    assert answer["choices"][0]["finish_reason"] == "length"
    assert refused(chat, request(max_tokens=2049), 400)["param"] == "max_tokens"


def test_a_bad_schema_is_400_before_anything_is_generated(chat: httpx.Client) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wibble"}}}
    error = refused(chat, request(response_format=schema), 400)
    assert "wibble" in error["message"]


# Beside the completions


def test_tokenize_counts_what_the_prompt_will_cost_and_needs_no_key(
    vllm_chat: VllmServer, chat: httpx.Client
) -> None:
    """The key guards /v1 (and /v2) only: /tokenize, /metrics and /health are open."""
    body = request("How many tokens is this?")
    counted = httpx.post(f"{vllm_chat.url}/tokenize", json=body).json()
    assert counted["count"] == len(counted["tokens"])
    assert counted["count"] == ask(chat, body | {"max_tokens": 1})["usage"]["prompt_tokens"]
    assert counted["max_model_len"] == 2048


def test_the_model_list_says_how_long_a_context_may_be(chat: httpx.Client) -> None:
    (model,) = chat.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", 2048)
