"""`ServedModel`: the address of a model server, and the endpoint that it is opened as."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from hoptrail.agents.llm.delimiters import cache_salt
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.types import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model behind an OpenAI-compatible server."""

    url: str
    name: str | None = None
    """None: the first that the server lists."""
    api_key: str | None = field(default=None, repr=False)


async def open_endpoint(
    stack: AsyncExitStack, model: ServedModel | Endpoint | None, secret: bytes
) -> Endpoint | None:
    """The endpoint of a model, closed with the stack; one that is open already stays its owner's.

    Args:
        stack: closes what is opened here.
        model: None: no model.
        secret: the tenant's; its prompts share no prefix cache with another's.
    """
    if not isinstance(model, ServedModel):
        return model
    endpoint = HttpEndpoint(
        model.url, model=model.name, api_key=model.api_key, cache_salt=cache_salt(secret)
    )
    stack.push_async_callback(endpoint.aclose)
    return endpoint
