"""The probe of a model server: does it enforce schemas, does its model think although told not to?

The only reply that the probe's schema allows is a word that no model would write by itself: some
servers ignore schemas that they do not understand, with HTTP 200.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hoptrail.agents.llm.reply_schema import ReplySchema, find_object, has_thoughts, read_reply
from hoptrail.agents.llm.retry import CallSpec, CallStats, RetryingEndpoint
from hoptrail.agents.llm.types import AttemptFailed, Message, ServerInfo, Thinking

_WORD = "qzv7kx"
_FORM: ReplySchema[dict[str, Any]] = ReplySchema(
    name="probe",
    schema={
        "type": "object",
        "properties": {"word": {"type": "string", "enum": [_WORD]}},
        "required": ["word"],
        "additionalProperties": False,
    },
    parse=find_object,
)
_MESSAGES = (
    Message(role="user", content="What colour is a clear sky? Answer in one English sentence."),
)
_CALL = CallSpec(node="prepare", form=_FORM, max_tokens=64, min_tokens=64)


async def probed(
    endpoint: RetryingEndpoint, info: ServerInfo, thinking: Thinking, until: float
) -> ServerInfo:
    """What a probe shows: does the server enforce schemas, does the model think anyway?"""
    call = replace(_CALL, until=until)
    binding = replace(info, enforces_schema=True)
    try:
        reply = await endpoint.reply(call, _MESSAGES, binding, CallStats())
        thinks = has_thoughts(_FORM, reply)
        if thinks and reply.finish_reason == "length":
            call = replace(call, max_tokens=call.max_tokens + thinking.tokens)
            reply = await endpoint.reply(call, _MESSAGES, binding, CallStats())
            thinks = has_thoughts(_FORM, reply)
    except AttemptFailed as failed:
        if failed.kind != "bad_request":
            raise
        # It may refuse schemas, or all our requests: one without a schema decides.
        free = replace(info, enforces_schema=False)
        reply = await endpoint.reply(call, _MESSAGES, free, CallStats())
        return replace(free, thinks=has_thoughts(_FORM, reply))
    found = read_reply(_FORM, reply, thinking=False) == {"word": _WORD}
    return replace(info, enforces_schema=found, thinks=thinks)
