"""The settings of a server: where it listens, its limits, and its API keys with their tenants."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.runs.models import RoleModels
from hoptrail.agents.runs.request import RunSettings
from hoptrail.agents.strategies.registry import strategy
from hoptrail.rag.errors import SettingsError

Events = Literal["auto", "on", "off"]
"""Whether Open WebUI's `event` chunks are streamed; `auto`: to requests that come from it."""

_HASH = re.compile(r"[0-9a-f]{64}")
_AT_LEAST_1 = ("body_bytes", "questions", "open_stores", "receipts", "queued_jobs")
_ABOVE_0 = ("body_seconds", "drain_seconds", "link_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as the server knows it: its hash, whose documents it opens, and its limits."""

    name: str
    hash: str
    """SHA-256 of the key, 64 hexadecimal digits."""
    tenant: str = "default"
    write: bool = False
    """Whether it may put and delete documents."""
    metrics: bool = False
    """Whether it may read `/metrics`, which counts the requests of all tenants."""
    questions: int = 8
    """Most questions in flight at one time; at least 1."""
    tokens_per_minute: int | None = None
    """Most tokens of served models; None: no limit. Who is above it waits."""
    calls_per_minute: int | None = None
    budget: Budget | None = None
    """Limits of one question; None: the server's."""
    source_list: bool = True
    """Whether answers end with a Markdown list of their sources."""
    events: Events = "auto"

    def __post_init__(self) -> None:
        """Refuses a hash that is none, and limits with which nothing can be asked."""
        if self.hash and not _HASH.fullmatch(self.hash):
            raise SettingsError(
                f"The hash of the API key {self.name!r} is no SHA-256: it has 64 hexadecimal "
                "digits. Make a key with hoptrail serve --new-key NAME."
            )
        if self.questions < 1:
            raise SettingsError(
                f"The API key {self.name!r} has questions = {self.questions!r}: at least 1."
            )
        if self.events not in get_args(Events):
            raise SettingsError(
                f"The API key {self.name!r} has events = {self.events!r}: use 'auto', 'on' or "
                "'off'."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The settings of a server.

    Raises:
        SettingsError: a limit that cannot be, two keys of one hash, or no key for an address that
            others than this machine reach.
    """

    store: Path
    """The folder of all tenants."""
    tenant: str = "default"
    """Whose documents are served where there are no keys."""
    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[ApiKey, ...] = ()
    """(): none is asked for; the server then listens on this machine only."""
    models: RoleModels | None = None
    """None: the local players answer, in the documents' own words."""
    strategy: str = "auto"
    """The strategy of the model `hoptrail`; each has `hoptrail/NAME` besides."""
    budget: Budget = field(default_factory=Budget)
    """Limits of one question; a key may have its own."""
    run: RunSettings = field(default_factory=RunSettings)
    questions: int = 64
    """Most questions in flight of all keys together; the next is answered with status 429."""
    open_stores: int = 16
    """Most tenants' stores open at one time; those longest unused are closed."""
    body_bytes: int = 10_000_000
    """Largest body of a request."""
    body_seconds: float = 60.0
    """Longest time that the body of a request may take to arrive."""
    drain_seconds: float = 30.0
    """Time that questions in flight have to end after SIGTERM."""
    receipts: int = 10_000
    """Most receipts kept for a tenant; the oldest go."""
    queued_jobs: int = 100
    """Most documents of a tenant that wait to be stored."""
    link_days: float = 30.0
    """Days for which the links to sources open without a key."""
    public_url: str = ""
    """The address of the server as its users reach it; empty: as the request names it."""
    links: tuple[str, ...] = ()
    """Beginnings of addresses that an answer may link to, besides those in cited quotes."""

    def __post_init__(self) -> None:
        """Refuses settings with which the server would be unsafe or useless."""
        strategy(self.strategy)
        for name in (*_AT_LEAST_1, *_ABOVE_0):
            value, least = getattr(self, name), "at least 1" if name in _AT_LEAST_1 else "above 0"
            if value < 1 if name in _AT_LEAST_1 else not value > 0:
                raise SettingsError(f"The setting {name} of [server] is {value!r}: {least}.")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"The port is {self.port!r}: 0 to 65535 can be.")
        if len({key.hash for key in self.keys}) < len(self.keys):
            raise SettingsError("Two API keys have one hash: make each its own key.")
        if not self.keys and not is_loopback(self.host):
            raise SettingsError(
                f"Without API keys the server listens on this machine only, not on "
                f"{self.host!r}: make a key with hoptrail serve --new-key NAME, or leave the host "
                "out."
            )
        for link in (*self.links, *filter(None, (self.public_url,))):
            _check_address(link)

    def tenants(self) -> tuple[str, ...]:
        """The tenants that are served, each once."""
        named = [key.tenant for key in self.keys] or [self.tenant]
        return tuple(dict.fromkeys(named))


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_address(address: str) -> None:
    """Refuses an address that could be the beginning of a longer host's."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(
            f"{address!r} is no address: write https://HOST/ or https://HOST/PATH/."
        )
