"""The models of a run by role: one for all, others for some, and how long each may think.

A run remembers all of it but keys, so that `aresume` can open the same models by their addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

from hoptrail.agents.budget.quota import Quota
from hoptrail.agents.llm.served_model import AnyModel, ModelClient, ServedModel, open_endpoint
from hoptrail.agents.llm.types import Endpoint, Thinking
from hoptrail.agents.runs.intercepted import NotInReplay
from hoptrail.agents.runs.quota_endpoint import QuotaEndpoint
from hoptrail.agents.runs.request import ModelRecord, RunRequest
from hoptrail.rag.errors import SettingsError

ROLES = (
    "rewriter",
    "planner",
    "step_planner",
    "ranker",
    "refiner",
    "assessor",
    "query_writer",
    "answerer",
    "reader",
    "reasoner",
    "scorer",
    "verifier",
)
"""The roles that a model may play."""

_THINKING = frozenset({"answerer"})
"""Roles whose model may think by default: the others decide small things, many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleModel:
    """The model of one role; what is None is as the run's default has it."""

    model: AnyModel | None = None
    thinking: bool | None = None
    """Whether a thinking model may think first. None: the answerer may, other roles may not."""
    thought_tokens: int | None = None
    """Most tokens of thoughts, beside those of the reply. None: 2,048."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleModels:
    """The models of a run: a default, and what is different for some roles.

        RoleModels(
            default=ServedModel(url="http://127.0.0.1:8000/v1"),
            roles={
                "planner": RoleModel(thinking=True),
                "scorer": RoleModel(model=ServedModel(url="http://127.0.0.1:8001/v1")),
            },
        )

    A role without a model is played locally.

    Raises:
        SettingsError: there is no such role, or a limit is wrong.
    """

    default: AnyModel | None = None
    roles: Mapping[str, RoleModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses unknown roles and wrong limits."""
        for role in self.roles:
            if role not in ROLES:
                raise SettingsError(f"There is no role {role!r}: use one of {', '.join(ROLES)}.")
            self.thinking(role)

    @classmethod
    def of(cls, model: AnyModel | RoleModels | None) -> RoleModels:
        """A model as the default of all roles."""
        return model if isinstance(model, RoleModels) else cls(default=model)

    def thinking(self, role: str) -> Thinking:
        """Whether and how long the model of a role may think."""
        own = self.roles.get(role, RoleModel())
        usual = Thinking(on=role in _THINKING)
        return Thinking(
            on=usual.on if own.thinking is None else own.thinking,
            tokens=usual.tokens if own.thought_tokens is None else own.thought_tokens,
        )

    def servers(self) -> dict[str, AnyModel]:
        """The models, each once: the default by the name "", others by the first role of each."""
        found: dict[str, AnyModel] = {} if self.default is None else {"": self.default}
        for role in ROLES:
            own = self.roles.get(role, RoleModel()).model
            if own is not None and all(own != one for one in found.values()):
                found[role] = own
        return found

    def server_of(self, role: str) -> str | None:
        """The name in `servers` of a role's model; None: the role is played locally."""
        wanted = self.roles.get(role, RoleModel()).model or self.default
        return next((name for name, one in self.servers().items() if one == wanted), None)

    def described(self) -> dict[str, Any]:
        """The fields by which a `RunRequest` remembers the models: everything but keys."""
        url, name = _address(self.default)
        return {
            "model": url,
            "model_name": name,
            "served": self.default is not None,
            "models": {role: self._record(role) for role in ROLES if role in self.roles},
        }

    def _record(self, role: str) -> ModelRecord:
        own = self.roles[role]
        url, name = _address(own.model)
        return ModelRecord(
            url=url,
            name=name,
            server=self.server_of(role),
            own=own.model is not None,
            thinking=own.thinking,
            thought_tokens=own.thought_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleServer:
    """The server of a role in one run, by its name among the run's, and the role's thoughts."""

    server: str
    thinking: Thinking


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModels:
    """The models of one run, open: endpoints by name, and which of them plays which role."""

    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    roles: Mapping[str, RoleServer] = field(default_factory=dict)
    """Roles that are not here are played locally."""

    @classmethod
    async def open(cls, stack: AsyncExitStack, models: RoleModels, secret: bytes) -> Self:
        """Opens each model once; see `open_endpoint`."""
        endpoints: dict[str, Endpoint] = {}
        for name, model in models.servers().items():
            endpoint = await open_endpoint(stack, model, secret)
            assert endpoint is not None
            endpoints[name] = endpoint
        servers = {role: models.server_of(role) for role in ROLES}
        return cls(endpoints=endpoints, roles=_played(servers, models))

    def within(self, quota: Quota | None) -> OpenModels:
        """The same models, whose calls draw on a quota that many runs share; None: on none."""
        if quota is None:
            return self
        drawing = {name: QuotaEndpoint(one, quota) for name, one in self.endpoints.items()}
        return replace(self, endpoints=drawing)

    @classmethod
    def of_replay(cls, request: RunRequest) -> Self:
        """The models of a replayed run, none of which may be reached."""
        settings = {
            role: RoleModel(thinking=one.thinking, thought_tokens=one.thought_tokens)
            for role, one in request.models.items()
        }
        models, usual = RoleModels(roles=settings), "" if request.served else None
        servers = {
            role: request.models[role].server if role in request.models else usual for role in ROLES
        }
        names = ("", *servers.values()) if request.served else servers.values()
        return cls(
            endpoints={
                name: cast(Endpoint, NotInReplay())
                for name in dict.fromkeys(names)
                if name is not None
            },
            roles=_played(servers, models),
        )


async def opened_once(stack: AsyncExitStack, models: RoleModels, secret: bytes) -> RoleModels:
    """The models with each opened, for several runs of one tenant.

    Args:
        stack: closes them.
        models: addresses, clients and endpoints.
        secret: the tenant's.
    """
    names = {role: models.server_of(role) for role in models.roles}
    opened = (await OpenModels.open(stack, models, secret)).endpoints
    return RoleModels(
        default=opened.get(""),
        roles={
            role: replace(one, model=None if one.model is None else opened[names[role] or ""])
            for role, one in models.roles.items()
        },
    )


def _played(servers: Mapping[str, str | None], models: RoleModels) -> dict[str, RoleServer]:
    return {
        role: RoleServer(server=server, thinking=models.thinking(role))
        for role, server in servers.items()
        if server is not None
    }


def restored(
    run: str, request: RunRequest, given: AnyModel | RoleModels | None
) -> AnyModel | RoleModels | None:
    """The models that a run goes on with: those given, else those of its addresses.

    A single model that is given takes the place of the run's default.

    Raises:
        SettingsError: the run had an open endpoint, which cannot be restored.
    """
    if isinstance(given, RoleModels):
        return given
    lacking = given is None and request.served and not request.model
    if lacking or any(one.own and not one.url for one in request.models.values()):
        raise SettingsError(
            f"Run {run!r} was started with an Endpoint object, which cannot be restored: "
            "pass model=… to resume()."
        )
    default = given
    if given is None and request.served:
        default = ServedModel(url=request.model, name=request.model_name)
    return RoleModels(
        default=default,
        roles={
            role: RoleModel(
                model=ServedModel(url=one.url, name=one.name) if one.own else None,
                thinking=one.thinking,
                thought_tokens=one.thought_tokens,
            )
            for role, one in request.models.items()
        },
    )


def _address(model: AnyModel | None) -> tuple[str, str | None]:
    """Address and name of a model; empty where it is an open endpoint, or none."""
    served = model.model if isinstance(model, ModelClient) else model
    return (served.url, served.name) if isinstance(served, ServedModel) else ("", None)
