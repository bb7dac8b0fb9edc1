"""API keys: made at random, stored as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.server_settings import ApiKey, is_loopback
from hoptrail.app.server.shared.context import context_of

_PREFIX = "ht-"
_BEARER = HTTPBearer(auto_error=False, description="An API key; made by hoptrail serve --new-key.")


def new_key() -> str:
    """A key of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def key_hash(key: str) -> str:
    """The hash of a key: SHA-256, since a random key needs no slow one."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def find_key(keys: Sequence[ApiKey], presented: str) -> ApiKey | None:
    """The key that was presented; None: there is none. Every stored hash is compared."""
    digest, found = key_hash(presented), None
    for key in keys:
        if hmac.compare_digest(digest, key.hash):
            found = key
    return found


def caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> ApiKey:
    """The key of a request; where the server has none, that of this machine.

    Raises:
        ApiError: no key, a wrong one, or a page of another site that calls a server without keys.
    """
    context = context_of(request)
    if not context.settings.keys:
        check_local(request)
        return context.local
    found = find_key(context.settings.keys, bearer.credentials) if bearer else None
    if found is None:
        raise ApiError(
            401,
            "invalid_api_key",
            "The API key is missing or wrong: send Authorization: Bearer KEY.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return found


def writer(key: Annotated[ApiKey, Depends(caller)]) -> ApiKey:
    """The key of a request that changes documents.

    Raises:
        ApiError: it may only read.
    """
    if not key.write:
        raise ApiError(
            403, "read_only_key", "This API key may only read: set write = true for one that may."
        )
    return key


def check_local(request: Request) -> None:
    """Refuses what a web page of another site sends to a server without keys.

    A browser names the page's site in `Origin`; a site that resolves its name to this machine is
    known by `Host`.
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    names = [urlsplit(f"//{host}").hostname]
    if origin is not None:
        names.append(urlsplit(origin).hostname)
    if not all(name and is_loopback(name) for name in names):
        raise ApiError(
            403, "foreign_site", "Without API keys the server answers this machine only."
        )


Caller = Annotated[ApiKey, Depends(caller)]
Writer = Annotated[ApiKey, Depends(writer)]
