"""An embedder behind an OpenAI-compatible `/v1/embeddings` (vLLM with `--runner pooling`).

Batches go out a few at a time from a thread pool. What may pass by itself is tried again
(connections, 429, 5xx); any other 4xx is the caller's mistake and is not. Nothing is believed:
size and time, count, order, dimension and finiteness of the answer are checked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import numpy as np
from pydantic import TypeAdapter, ValidationError

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.bounded_answer import MAX_BODY, BodyTooLarge, BoundedBody, within
from hoptrail.rag.embedders.server_url import check_api_key, server_url
from hoptrail.rag.errors import EmbedderError, SettingsError
from hoptrail.rag.types import Vectors

_UNKNOWN_WINDOW = 512
_CHARACTERS_A_TOKEN = 4
_TOO_MANY_REQUESTS = 429
_BODY_BASE, _BODY_EACH = 2**20, 64
"""Bytes of an answer after which it is given up, and for each number that it may hold."""
_UNKNOWN_DIMENSION = 2**15
_GRACE = 1.0
"""Seconds after which an attempt is left that does not end by itself: its headers trickle in."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIEmbedderSettings:
    """How to reach an embeddings server."""

    url: str
    """With the version: `http://localhost:8000/v1`. A URL without a path gets `/v1`."""

    model: str | None = None
    """None: the one model that the server lists."""

    api_key: str | None = field(default=None, repr=False)
    """Sent as bearer token."""

    window: int | None = None
    """Tokens the model reads; None: what the server says, else 512."""

    batch: int = 64
    """Texts a request."""

    concurrency: int = 4
    """Requests at a time."""

    timeout: float = 60.0
    """Seconds for one attempt, from connecting to the last byte of the answer."""

    attempts: int = 4

    longest_wait: float = 20.0
    """Seconds between two attempts at most, whatever the server asks for."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        counts = {name: getattr(self, name) for name in ("batch", "concurrency", "attempts")}
        for name, value in counts.items():
            if value < 1:
                raise SettingsError(f"An embeddings server needs {name} >= 1, not {value!r}.")
        check_api_key(self.api_key)


class OpenAIEmbedder:
    """Embeds through a server; safe to share by threads. Close it when done."""

    def __init__(
        self,
        settings: OpenAIEmbedderSettings,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Asks the server for its models and for one vector, to learn the dimension.

        Raises:
            EmbedderError: the server does not answer, or does not serve the model.
            SettingsError: the URL is none of a server, or holds a password.
        """
        self._settings = settings
        self._sleep = sleep
        self._base = server_url(settings.url, key_option="--embedder-key-file")
        if httpx.URL(self._base).path in ("", "/"):
            self._base += "/v1"
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        # trust_env: proxies and .netrc are the door's business, and loopback needs neither.
        self._client = httpx.Client(
            headers=headers, timeout=settings.timeout, transport=transport, trust_env=False
        )
        try:
            card = self._choose_model()
            self._id = card.id
            self._window = settings.window or card.max_model_len or _UNKNOWN_WINDOW
            self._truncates = card.owned_by == "vllm"
            self._dimension = _UNKNOWN_DIMENSION
            self._dimension = len(self._request(["dimension"])[0])
            if not self._dimension:
                raise self._nonsense("an empty vector")
        except BaseException:
            self._client.close()
            raise

    @property
    def id(self) -> str:
        """The model's name on the server."""
        return self._id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def window(self) -> int:
        """Tokens that are read."""
        return self._window

    @property
    def texts_at_once(self) -> int:
        """Texts of the requests that are sent side by side."""
        return self._settings.batch * self._settings.concurrency

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), dimension) float32, rows L2-normalised; `kind` changes nothing.

        Raises:
            EmbedderError: the server is down, refuses, or answers nonsense.
        """
        size = self._settings.batch
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        if len(batches) <= 1:
            parts = [self._vectors(batch) for batch in batches]
        else:
            with ThreadPoolExecutor(min(self._settings.concurrency, len(batches))) as pool:
                parts = list(pool.map(self._vectors, batches))
        return np.concatenate([np.empty((0, self._dimension), dtype=np.float32), *parts])

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        rows = self._request(texts)
        if any(len(row) != self._dimension for row in rows):
            raise self._nonsense(f"vectors that are not all of dimension {self._dimension}")
        # Numbers too large for float32 become infinite and are refused as such.
        with np.errstate(over="ignore"):
            vectors = np.array(rows, dtype=np.float32)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise self._nonsense("vectors that are zero or not finite")
        vectors /= norms
        return vectors

    def _request(self, texts: Sequence[str]) -> list[list[float]]:
        """One batch of raw vectors in the order of the texts."""
        body: dict[str, Any] = {
            "model": self._id,
            "input": [self._sendable(text) for text in texts],
            "encoding_format": "float",
        }
        if self._truncates:
            # vLLM refuses longer texts otherwise; -1 is its own maximum.
            body["truncate_prompt_tokens"] = -1
        most = _BODY_BASE + _BODY_EACH * len(texts) * self._dimension
        reply = self._parse(_EMBEDDINGS, self._call("POST", "/embeddings", body, most))
        by_index = {item.index: item.embedding for item in reply.data}
        if len(reply.data) != len(texts) or set(by_index) != set(range(len(texts))):
            raise self._nonsense(f"{len(reply.data)} vectors for {len(texts)} texts")
        return [by_index[index] for index in range(len(texts))]

    def _sendable(self, text: str) -> str:
        """Lone surrogates are no JSON, and some servers refuse an empty text."""
        text = text.encode("utf-8", "replace").decode("utf-8") or " "
        return text if self._truncates else text[: self._window * _CHARACTERS_A_TOKEN]

    def _choose_model(self) -> _Card:
        cards = self._parse(_MODELS, self._call("GET", "/models")).data
        name = self._settings.model
        chosen = [card for card in cards if name in (None, card.id)]
        if len(chosen) == 1:
            return chosen[0]
        wanted = "Name one of its models" if name is None else f"It does not serve {name!r}"
        listed = ", ".join(repr(card.id) for card in cards) or "no model"
        raise self._error(f"{wanted}: {self._base!r} lists {listed}.")

    def _call(self, method: str, path: str, body: object = None, most: int = MAX_BODY) -> _Answer:
        """Sends until an answer of at most `most` bytes is final.

        Raises:
            EmbedderError: refused, or all attempts failed.
        """
        seconds = self._settings.timeout
        trouble, asked = "", None
        for attempt in range(self._settings.attempts):
            if attempt:
                self._sleep(self._wait(attempt, asked))
            asked = None
            try:
                answer = within(seconds + _GRACE, lambda: self._fetch(method, path, body, most))
            except (httpx.TransportError, TimeoutError) as error:
                trouble = (
                    f"{type(error).__name__}: {str(error) or f'no answer within {seconds:g} s'}"
                )
                continue
            except (BodyTooLarge, _TooSlow) as error:
                raise self._nonsense(str(error)) from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._error(f"{self._base!r} cannot be called: {error}.") from error
            if answer.status != _TOO_MANY_REQUESTS and answer.status < 500:
                return self._accepted(answer)
            trouble = f"HTTP {answer.status}: {self._excerpt(answer)}"
            asked = answer.retry_after
        raise self._error(
            f"The embeddings server {self._base!r} failed {self._settings.attempts} times, the "
            f"last with {trouble}. Is it up? Look at {self._base}/models."
        )

    def _fetch(self, method: str, path: str, body: object, most: int) -> _Answer:
        """The answer to one request.

        Raises:
            BodyTooLarge, _TooSlow: given up while its body came.
            httpx.HTTPError: there is none.
        """
        until = time.monotonic() + self._settings.timeout
        data = BoundedBody(most)
        with self._client.stream(method, self._base + path, json=body) as response:
            for piece in response.iter_bytes():
                data.add(piece)
                if time.monotonic() > until:
                    raise _TooSlow(f"only a part within {self._settings.timeout:g} s")
            return _Answer(
                status=response.status_code,
                retry_after=response.headers.get("Retry-After"),
                body=data.whole(),
            )

    def _wait(self, attempt: int, asked: str | None) -> float:
        """Seconds: what the server asked for, else 0.5, 1, 2, …; never above the limit."""
        try:
            seconds = float(asked) if asked is not None else 2.0 ** (attempt - 2)
        except ValueError:
            seconds = self._settings.longest_wait
        if not (math.isfinite(seconds) and seconds >= 0):
            seconds = self._settings.longest_wait
        return min(seconds, self._settings.longest_wait)

    def _accepted(self, answer: _Answer) -> _Answer:
        status = answer.status
        if 200 <= status < 300:
            return answer
        remedy = {
            401: " Check the API key (--embedder-key-file).",
            403: " Check the API key (--embedder-key-file).",
            404: " Is the URL right (it usually ends in /v1), and is it an embeddings "
            "server (vLLM: --runner pooling)?",
        }.get(status, "")
        raise self._error(
            f"The embeddings server {self._base!r} refused with HTTP {status}: "
            f"{self._excerpt(answer)}.{remedy}"
        )

    def _parse(self, kind: TypeAdapter[_T], answer: _Answer) -> _T:
        try:
            return kind.validate_json(answer.body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise self._nonsense(
                f"what is no embeddings answer ({place or 'body'}: {first['msg']}): "
                f"{self._excerpt(answer)}"
            ) from None  # pydantic's error quotes the answer, key and all

    def _nonsense(self, what: str) -> EmbedderError:
        return self._error(
            f"The embeddings server {self._base!r} answered with {what}. Check that the URL is "
            f"that of an OpenAI-compatible embeddings endpoint."
        )

    def _error(self, message: str) -> EmbedderError:
        return EmbedderError(self._hide(message))

    def _excerpt(self, answer: _Answer) -> str:
        """The start of an answer, in quotes."""
        # The key first: what is cut or escaped is no longer found.
        text = " ".join(self._hide(answer.body.decode("utf-8", "replace")).split())
        return repr(text if len(text) <= 200 else text[:200] + "…")

    def _hide(self, text: str) -> str:
        """The text without our key, which servers echo."""
        key = self._settings.api_key
        return text.replace(key, "***") if key else text


class _TooSlow(Exception):
    """The body of an answer took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    retry_after: str | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    id: str
    owned_by: str | None = None
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Models:
    data: list[_Card]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    index: int
    embedding: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Embeddings:
    data: list[_Item]


_MODELS = TypeAdapter(_Models)
_EMBEDDINGS = TypeAdapter(_Embeddings)
