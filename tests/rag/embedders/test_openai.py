"""The embeddings client against a loopback server that misbehaves in every way we know."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from support.embedding_server import (
    DIMENSION,
    Reply,
    Request,
    Served,
    as_reply,
    embedding_server,
    right_answer,
)

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.embedders.openai import OpenAIEmbedder, OpenAIEmbedderSettings
from hoptrail.rag.errors import EmbedderError, SettingsError


@pytest.fixture
def served() -> Iterator[Served]:
    with embedding_server() as server:
        yield server


@pytest.fixture
def naps() -> list[float]:
    return []


Connect = Callable[..., OpenAIEmbedder]


@pytest.fixture
def connect(naps: list[float]) -> Iterator[Connect]:
    """Opens embedders that note their naps instead of taking them; closes them at the end."""
    with ExitStack() as opened:

        def opener(served: Served, **settings: str | int | None) -> OpenAIEmbedder:
            chosen = OpenAIEmbedderSettings(**{"url": served.url, **settings})  # type: ignore[arg-type]
            embedder = OpenAIEmbedder(chosen, sleep=naps.append)
            opened.callback(embedder.close)
            return embedder

        yield opener


TEXTS = [f"ship number {n}" for n in range(50)]
EXPECTED = HashEmbedder(DIMENSION).embed(TEXTS)


def test_vectors_come_back_in_order_and_normalised(connect: Connect, served: Served) -> None:
    embedder = connect(served, batch=7, concurrency=3)
    assert np.allclose(embedder.embed(TEXTS), EXPECTED, atol=1e-6)
    assert (embedder.id, embedder.dimension) == ("tiny", DIMENSION)
    sizes = sorted(len(request["input"]) for request in served.requests[1:])
    assert sizes == [1, 7, 7, 7, 7, 7, 7, 7]


def test_batches_go_out_several_at_a_time_and_no_more(connect: Connect, served: Served) -> None:
    embedder = connect(served, batch=5, concurrency=2)
    together = threading.Barrier(2, timeout=30)

    def meet(_number: int, _request: Request) -> None:
        together.wait()  # breaks unless two requests are in flight

    served.manners = meet
    assert np.allclose(embedder.embed(TEXTS), EXPECTED, atol=1e-6)
    assert served.most_at_once == 2


def test_no_text_needs_no_request(connect: Connect, served: Served) -> None:
    embedder = connect(served)
    assert embedder.embed([]).shape == (0, DIMENSION)
    assert len(served.requests) == 1


def test_shuffled_answers_are_put_in_order(connect: Connect, served: Served) -> None:
    embedder = connect(served)
    served.manners = lambda _, request: as_reply(right_answer(request)[::-1])
    assert np.allclose(embedder.embed(TEXTS), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_passing_troubles_are_tried_again(
    connect: Connect, served: Served, naps: list[float], status: int
) -> None:
    embedder = connect(served)
    served.manners = lambda number, _: Reply(status=status) if number in (1, 2) else None
    assert np.allclose(embedder.embed(TEXTS), EXPECTED, atol=1e-6)
    assert naps == [0.5, 1.0]


def test_a_dropped_connection_is_tried_again(
    connect: Connect, served: Served, naps: list[float]
) -> None:
    embedder = connect(served)
    served.manners = lambda number, _: Reply(hang_up=True) if number == 1 else None
    assert np.allclose(embedder.embed(TEXTS), EXPECTED, atol=1e-6)
    assert naps == [0.5]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("3", 3.0), ("0", 0.0), ("3600", 20.0), ("soon", 20.0), ("-1", 20.0), ("nan", 20.0)],
)
def test_retry_after_is_honoured_up_to_a_limit(
    connect: Connect, served: Served, naps: list[float], asked: str, waited: float
) -> None:
    embedder = connect(served)
    busy = Reply(status=429, headers={"Retry-After": asked})
    served.manners = lambda number, _: busy if number == 1 else None
    embedder.embed(["x"])
    assert naps == [waited]


def test_a_request_fails_after_its_last_attempt(
    connect: Connect, served: Served, naps: list[float]
) -> None:
    embedder = connect(served, attempts=3)
    served.manners = lambda _, __: Reply(status=503, body=b"loading the model")
    with pytest.raises(EmbedderError, match=r"failed 3 times.*HTTP 503: 'loading the model'"):
        embedder.embed(["x"])
    assert len(naps) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_other_refusals_are_final(
    connect: Connect, served: Served, naps: list[float], status: int
) -> None:
    embedder = connect(served)
    served.manners = lambda _, __: Reply(status=status, body=b"too long")
    with pytest.raises(EmbedderError, match=f"refused with HTTP {status}: 'too long'"):
        embedder.embed(["x"])
    assert naps == []
    assert len(served.requests) == 2


def test_an_address_without_an_embedding_server_is_an_error(naps: list[float]) -> None:
    with embedding_server() as server:
        url = server.url
    with pytest.raises(EmbedderError, match=r"failed 4 times.*ConnectError.*Is it up\?"):
        OpenAIEmbedder(OpenAIEmbedderSettings(url=url), sleep=naps.append)
    assert naps == [0.5, 1.0, 2.0]


def _item(index: int, embedding: object) -> dict[str, object]:
    return {"index": index, "embedding": embedding}


_GOOD = [1.0] * DIMENSION


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><h1>Welcome</h1></html>", r"no embeddings answer .*<html>"),
        (b"", "no embeddings answer"),
        (b'{"object": "error", "message": "boom"}', r"no embeddings answer \(data: .*boom"),
        ([_item(0, _GOOD)], "1 vectors for 2 texts"),
        ([_item(0, _GOOD)] * 2, "2 vectors for 2 texts"),
        ([_item(n, _GOOD) for n in range(3)], "3 vectors for 2 texts"),
        ([_item(1, _GOOD), _item(2, _GOOD)], "2 vectors for 2 texts"),
        ([_item(0, _GOOD), _item(1, _GOOD[:-1])], "not all of dimension 16"),
        ([_item(0, _GOOD), _item(1, [*_GOOD[:-1], float("nan")])], "zero or not finite"),
        ([_item(0, _GOOD), _item(1, [*_GOOD[:-1], float("inf")])], "zero or not finite"),
        ([_item(0, _GOOD), _item(1, [*_GOOD[:-1], 1e300])], "zero or not finite"),
        ([_item(0, _GOOD), _item(1, [0.0] * DIMENSION)], "zero or not finite"),
        ([_item(0, _GOOD), _item(1, "AAAA")], "no embeddings answer"),
        ([_item(0, _GOOD), _item(1, [*_GOOD[:-1], None])], "no embeddings answer"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_nonsense_is_refused(
    connect: Connect, served: Served, body: bytes | list[Any], message: str
) -> None:
    embedder = connect(served)
    reply = Reply(body=body) if isinstance(body, bytes) else as_reply(body)
    served.manners = lambda _, __: reply
    with pytest.raises(EmbedderError, match=message):
        embedder.embed(["one", "two"])


def test_html_at_the_start(connect: Connect, served: Served) -> None:
    with embedding_server() as page:
        page.cards = "<html>"  # type: ignore[assignment]
        with pytest.raises(EmbedderError, match="no embeddings answer"):
            connect(page)


def test_an_unknown_model_lists_the_known_ones(connect: Connect, served: Served) -> None:
    served.cards = [{"id": "tiny"}, {"id": "large"}]
    with pytest.raises(EmbedderError, match=r"does not serve 'huge'.*lists 'tiny', 'large'"):
        connect(served, model="huge")
    with pytest.raises(EmbedderError, match=r"Name one of its models.*'tiny', 'large'"):
        connect(served)
    assert connect(served, model="large").id == "large"


def test_the_key_is_sent_and_never_shown(connect: Connect, served: Served) -> None:
    connect(served, api_key="s3cret")
    assert served.keys == ["Bearer s3cret"]
    assert "s3cret" not in repr(OpenAIEmbedderSettings(url=served.url, api_key="s3cret"))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=401, body=b"Incorrect key sk-geheim"),
        Reply(status=503, body=b"no quota for Bearer sk-geheim"),
        Reply(body=b"x" * 195 + b" sk-geheim"),
        Reply(body=b'{"data": "sk-geheim"}'),
    ],
)
def test_a_key_that_a_server_echoes_is_taken_out(
    connect: Connect, served: Served, reply: Reply
) -> None:
    embedder = connect(served, api_key="sk-geheim")
    served.manners = lambda _, __: reply
    with pytest.raises(EmbedderError, match=r"\*\*\*|x…") as caught:
        embedder.embed(["x"])
    told = "".join(traceback.format_exception(caught.value))
    assert "sk-g" not in told


def test_a_key_that_a_server_lists_as_a_model_is_taken_out(
    connect: Connect, served: Served
) -> None:
    served.cards = [{"id": "sk-geheim"}]
    with pytest.raises(EmbedderError, match=r"lists '\*\*\*'"):
        connect(served, api_key="sk-geheim", model="tiny")


@pytest.mark.parametrize(
    "url",
    [
        "http://anna:geheim@localhost:8000/v1",
        "http://geheim@localhost:8000",
        "http://localhost:8000/v1?key=geheim",
        "http://localhost:8000/v1#geheim",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"'localhost' must hold no.*--embedder-key") as no:
        OpenAIEmbedder(OpenAIEmbedderSettings(url=url))
    assert "geheim" not in str(no.value)


@pytest.mark.parametrize("url", ["anna:geheim@localhost", "http://anna:gehe/im@localhost:x/v1"])
def test_a_password_in_what_is_no_url_is_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"'…@localhost.*is no address of a server") as no:
        OpenAIEmbedder(OpenAIEmbedderSettings(url=url))
    assert "gehe" not in str(no.value)
    assert no.value.__cause__ is None


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="copy it again") as no:
        OpenAIEmbedderSettings(url="http://localhost/v1", api_key="geheim\n")
    assert "geheim" not in str(no.value)


def test_vllm_truncates_by_itself(connect: Connect, served: Served) -> None:
    served.cards = [{"id": "tiny", "owned_by": "vllm", "max_model_len": 300}]
    embedder = connect(served)
    embedder.embed(["x" * 9000])
    assert embedder.window == 300
    assert served.requests[-1]["truncate_prompt_tokens"] == -1
    assert len(served.requests[-1]["input"][0]) == 9000


def test_other_servers_get_text_that_should_fit(connect: Connect, served: Served) -> None:
    embedder = connect(served, window=100)
    embedder.embed(["x" * 9000])
    assert embedder.window == 100
    assert "truncate_prompt_tokens" not in served.requests[-1]
    assert len(served.requests[-1]["input"][0]) == 400


def test_what_is_no_json_text_is_sent_all_the_same(connect: Connect, served: Served) -> None:
    vectors = connect(served).embed(["\ud800", ""])
    assert np.isfinite(vectors).all()
    assert served.requests[-1]["input"] == ["?", " "]


def test_version_is_added_to_a_bare_address(connect: Connect, served: Served) -> None:
    bare = served.url.removesuffix("/v1")
    assert connect(served, url=bare + "/").id == "tiny"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is no address of a server"):
        OpenAIEmbedder(OpenAIEmbedderSettings(url=url))


@pytest.mark.parametrize("name", ["batch", "concurrency", "attempts"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} >= 1, not 0"):
        OpenAIEmbedderSettings(url="http://localhost/v1", **{name: 0})  # type: ignore[arg-type]


def test_proxies_of_the_environment_are_not_used(
    connect: Connect, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert connect(served).id == "tiny"


def test_the_request_is_what_the_api_asks_for(connect: Connect, served: Served) -> None:
    connect(served).embed(["one", "two"])
    assert json.loads(json.dumps(served.requests[-1])) == {
        "model": "tiny",
        "input": ["one", "two"],
        "encoding_format": "float",
    }
