"""Estimate and report of a build by a served model: the fields that graph and tree share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hoptrail.agents.budget.ledger import Usage
from hoptrail.agents.indexing.batch_runner import IndexingStop
from hoptrail.agents.llm.token_estimate import CountedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEstimate:
    """Cost of a build in tokens, estimated before it begins."""

    model: str
    """The model's name, as its server gives it."""
    prompt_tokens: int
    """Of all prompts, each sent once."""
    reply_tokens: int
    """Of all replies, if they are as long as they usually are."""
    most_reply_tokens: int
    """Of all replies at their longest; replies that must be asked for again come on top."""
    counted_by: CountedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Outcome of a build: why it ended, which replies failed, what it cost."""

    model: str
    """The model's name, as its server gives it."""
    stop: IndexingStop
    failed: int
    """Questions whose reply could not be used."""
    failures: Mapping[str, int]
    """Number of failed questions by kind of failure (`agents.llm.client.Failure`)."""
    usage: Usage
    """That of the killed build that it went on with included."""
    flags: int
    """Usage reports of the server that were missing or not credible."""
    without_salt: bool
    """The server refused `cache_salt`: its prompt cache is shared with other tenants."""


def shared_fields(record: BuildEstimate | BuildReport) -> dict[str, Any]:
    """Fields of a shared record by name, for the constructor of the graph's or tree's variant."""
    return {one.name: getattr(record, one.name) for one in fields(record)}
