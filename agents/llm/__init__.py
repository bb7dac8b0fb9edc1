"""The client of served models: requests, retries, HTTP, reply schemas, delimiters."""

from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.served_model import ModelClient, ServedModel
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ModelUnavailable,
    ServerInfo,
    Thinking,
)

__all__ = [
    "AttemptFailed",
    "ChatReply",
    "ChatRequest",
    "Endpoint",
    "HttpEndpoint",
    "Message",
    "ModelClient",
    "ModelUnavailable",
    "ScriptedEndpoint",
    "ServedModel",
    "ServerInfo",
    "Thinking",
]
