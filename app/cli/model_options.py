"""From options and settings to the models of a run: addresses, keys, thoughts by role."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.app.cli.settings import ModelsTable, ModelTable, RoleTable, first, nearest
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hoptrail.agents import RoleModel, RoleModels, ServedModel

_SWITCH = {"on": True, "true": True, "off": False, "false": False}


def served_model(
    url: str | None, name: str | None, key_file: Path | None, table: ModelTable
) -> ServedModel | None:
    """The model that flags and settings name; None: none.

    Raises:
        SettingsError: a name or key without a server, or a key that cannot be read.
    """
    from hoptrail.agents import ServedModel

    url, name = first(url, table.url), first(name, table.name)
    key_file = first(key_file, table.api_key_file)
    key_env = None if key_file is not None else table.api_key_env
    if url is None:
        if name is not None or key_file is not None or key_env is not None:
            raise SettingsError(
                "A model's name or key is of no use without its server: add --model URL."
            )
        return None
    return ServedModel(url=url, name=name, api_key=_key(key_file, key_env))


def role_models(
    default: ServedModel | None, table: ModelsTable, typed: Iterable[str] | None
) -> RoleModels | None:
    """The models of a run: a default, and what settings and `--role` say of single roles.

    A role with a server of its own has a key of its own, or none: the default's goes nowhere else.

    Raises:
        SettingsError: a wrong `--role`, a model without a server, or a key that cannot be read.
    """
    from hoptrail.agents import RoleModels

    table = _over(table, typed or ())
    of_roles = {one.name: getattr(table, one.name) for one in fields(table)}
    roles = {
        role: _role_model(role, default, of_role)
        for role, of_role in of_roles.items()
        if of_role != RoleTable()
    }
    if default is None and all(one.model is None for one in roles.values()):
        return None
    return RoleModels(default=default, roles=roles)


def read_key(path: Path) -> str:
    """The API key that a file holds.

    Raises:
        SettingsError: it cannot be read, or is empty.
    """
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The key file {str(path)!r} cannot be read: {error}.") from error
    if not key:
        raise SettingsError(f"The key file {str(path)!r} is empty.")
    return key


def _role_model(role: str, default: ServedModel | None, table: RoleTable) -> RoleModel:
    from hoptrail.agents import RoleModel, ServedModel

    key = _key(table.api_key_file, table.api_key_env)
    own = table.url is not None or table.name is not None or key is not None
    if own and table.url is None and default is None:
        raise SettingsError(
            f"The model's name or key for the role {role!r} is of no use without a server: add "
            f"url to [models.{role}], or --model URL."
        )
    model = None
    if table.url is not None:
        model = ServedModel(url=table.url, name=table.name, api_key=key)
    elif own and default is not None:
        model = replace(
            default, name=first(table.name, default.name), api_key=first(key, default.api_key)
        )
    return RoleModel(model=model, thinking=table.thinking, thought_tokens=table.thought_tokens)


def _key(file: Path | None, variable: str | None) -> str | None:
    """The API key from a file, or else from an environment variable."""
    if file is not None:
        return read_key(file)
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SettingsError(
            f"The environment variable {variable!r} (api_key_env) is not set: it holds the key."
        )
    return key


def _over(table: ModelsTable, typed: Iterable[str]) -> ModelsTable:
    """The tables of all roles with what was typed in place of what the file says."""
    for one in typed:
        name, equals, value = one.partition("=")
        role, dot, key = name.partition(".")
        if not equals or not dot or not value:
            raise SettingsError(
                f"--role {one!r}: write ROLE.KEY=VALUE, such as planner.thinking=on."
            )
        for what, known in ((role, fields(ModelsTable)), (key, fields(RoleTable))):
            names = [field.name for field in known]
            if what not in names:
                raise SettingsError(f"--role {one!r}: unknown {what!r}, {nearest(what, names)}")
        changed = replace(getattr(table, role), **{key: _typed(one, key, value)})
        table = replace(table, **{role: changed})
    return table


def _typed(option: str, key: str, value: str) -> object:
    """A value as its key has it."""
    if key == "api_key_file":
        return Path(value)
    if key == "thinking":
        if value not in _SWITCH:
            raise SettingsError(f"--role {option!r}: thinking is on or off.")
        return _SWITCH[value]
    if key == "thought_tokens":
        if not value.isdecimal():
            raise SettingsError(f"--role {option!r}: thought_tokens is a whole number.")
        return int(value)
    return value
