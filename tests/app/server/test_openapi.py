"""The OpenAPI document: what it says of the server is so, for requests made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.cli import make_store
from support.server import live_server

from hoptrail.app.server.server_settings import ServerSettings

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose documents the requests may change."""
    texts = {"Heron": "The Heron is a ship."}
    root = make_store(tmp_path_factory.mktemp("openapi") / "store", texts)
    with live_server(ServerSettings(store=root)) as address:
        yield address


def test_no_request_is_answered_with_a_fault_or_what_is_not_documented(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    assert len(operations) >= 14
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=4, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        def answered(case: Any) -> None:  # noqa: ANN401
            if isinstance(case.body, dict) and "messages" in case.body:
                case.body["model"] = "hoptrail/single"  # else no model of that name is there
            case.call_and_validate(checks=CHECKS)

        answered()


def test_every_route_says_what_it_is_and_what_errors_look_like(url: str) -> None:
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v1/models", "/v1/search", "/retrieval"} <= set(paths)
    for path, methods in paths.items():
        for method in methods.values():
            assert method["description"], path
            if path.startswith(("/v1", "/retrieval")):
                error = method["responses"]["401"]["content"]["application/json"]["schema"]
                assert error == {"$ref": "#/components/schemas/ErrorBody"}


def test_no_page_of_the_server_loads_anything_from_elsewhere(url: str) -> None:
    for path in ("/docs", "/redoc"):
        assert httpx.get(f"{url}{path}").status_code == 404
