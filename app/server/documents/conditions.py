"""Conditions on metadata as Dify writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from hoptrail.app.server.api_errors import ApiError
from hoptrail.rag.types import Scalar

_ORDER = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "≥": lambda a, b: a >= b,
    ">=": lambda a, b: a >= b,
    "≤": lambda a, b: a <= b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "≠": lambda a, b: a != b,
    "!=": lambda a, b: a != b,
    "before": lambda a, b: a < b,
    "after": lambda a, b: a > b,
}
_TEXT = {
    "contains": lambda a, b: b in a,
    "not contains": lambda a, b: b not in a,
    "start with": str.startswith,
    "end with": str.endswith,
    "is": str.__eq__,
    "is not": str.__ne__,
}


class Condition(BaseModel):
    """A condition: it holds where one of the named fields fulfils it."""

    model_config = ConfigDict(extra="ignore")

    name: list[str] | str
    comparison_operator: str
    value: Scalar | None = None


def holds(
    conditions: Sequence[Condition], metadata: Mapping[str, Scalar], *, any_is_enough: bool
) -> bool:
    """Whether metadata fulfil all conditions, or any of them.

    Raises:
        ApiError: an operator that Dify does not have.
    """
    found = [_holds(one, metadata) for one in conditions]
    return any(found) if any_is_enough else all(found)


def _holds(condition: Condition, metadata: Mapping[str, Scalar]) -> bool:
    names = [condition.name] if isinstance(condition.name, str) else condition.name
    operator, wanted = condition.comparison_operator, condition.value
    if operator == "empty":
        return all(metadata.get(name) in (None, "") for name in names)
    if operator == "not empty":
        return any(metadata.get(name) not in (None, "") for name in names)
    if operator not in _ORDER and operator not in _TEXT:
        raise ApiError(400, "invalid_operator", f"Unknown comparison_operator {operator[:40]!r}.")
    return any(_fulfils(metadata[name], operator, wanted) for name in names if name in metadata)


def _fulfils(value: Scalar, operator: str, wanted: Scalar | None) -> bool:
    if wanted is None:
        return False
    if operator in _TEXT:
        return bool(_TEXT[operator](str(value), str(wanted)))
    one, other = _comparable(value), _comparable(wanted)
    if type(one) is not type(other):
        one, other = str(value), str(wanted)
    return bool(_ORDER[operator](one, other))


def _comparable(value: Scalar) -> float | str:
    """A number or a moment as a number; else the text."""
    with suppress(ValueError):
        return float(value)
    with suppress(ValueError):
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return str(value)
