"""Documents over HTTP: put, replaced, listed, viewed by signed links, deleted and not found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient
from support.cli import make_store
from support.server import ASK, api_key, bearer, client_of

from hoptrail.app.server.links import opens, signature
from hoptrail.app.server.server_settings import ServerSettings
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import Store

KIWI = "The kiwi lays one egg of a quarter of its weight. Its feathers are like hair."


@pytest.fixture
def own(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server whose documents the test may change."""
    root = make_store(tmp_path / "store", {"Nightjar": "The Nightjar was launched in 1894."})
    with client_of(ServerSettings(store=root)) as opened:
        yield opened


def put(client: TestClient, name: str, text: str, **fields: Any) -> Any:  # noqa: ANN401
    """Stores a document and waits; the job."""
    answer = client.put(f"/v1/documents/{name}?wait=true", json={"text": text, **fields})
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "done"
    return answer.json()


def found(client: TestClient, query: str) -> list[str]:
    """Ids of the documents that a search finds."""
    hits = client.post("/v1/search", json={"query": query, "k": 20}).json()["hits"]
    return [one["document_id"] for one in hits]


def test_a_document_that_is_put_is_found_replaced_and_deleted(own: TestClient) -> None:
    put(own, "birds/kiwi.md", KIWI, title="Kiwi", metadata={"year": 1894})
    assert found(own, "kiwi egg")[0] == "birds/kiwi.md"
    entry = own.get("/v1/documents/birds/kiwi.md").json()
    assert (entry["text"], entry["title"], entry["metadata"]) == (KIWI, "Kiwi", {"year": 1894})
    first = put(own, "birds/kiwi.md", "The kiwi cannot fly.")
    second = put(own, "birds/kiwi.md", "The kiwi cannot fly.")
    assert second["generation"] == first["generation"], "it was there already"
    (hit,) = [
        one for one in own.post("/v1/search", json={"query": "kiwi"}).json()["hits"]
        if one["document_id"] == "birds/kiwi.md"
    ]  # fmt: skip
    assert hit["text"] == "The kiwi cannot fly."
    gone = own.delete("/v1/documents/birds/kiwi.md").json()
    assert (gone["deleted"], gone["passages"], gone["found_afterwards"]) == (True, 1, 0)
    assert "birds/kiwi.md" not in found(own, "The kiwi cannot fly.")
    assert own.get("/v1/documents/birds/kiwi.md").status_code == 404
    assert own.delete("/v1/documents/birds/kiwi.md").status_code == 404


def test_a_deletion_takes_the_receipts_that_quote_the_document(own: TestClient) -> None:
    asked = {"model": "hoptrail/single", "messages": [{"role": "user", "content": "Nightjar?"}]}
    put(own, "kiwi", KIWI)
    receipt = own.post("/v1/chat/completions", json=asked).json()["hoptrail"]["receipt_id"]
    assert own.get(f"/v1/receipts/{receipt}").status_code == 200
    assert own.delete("/v1/documents/Nightjar").json()["receipts"] == 1
    assert own.get(f"/v1/receipts/{receipt}").status_code == 404


def test_many_documents_are_one_job_and_the_store_is_sound(own: TestClient, tmp_path: Path) -> None:
    documents = [{"id": f"n{at}", "text": f"Note {at} is of Port {at}."} for at in range(30)]
    job = own.post("/v1/documents", json={"documents": documents}).json()
    assert job["state"] in ("queued", "running", "done")
    while job["state"] != "done":
        assert job["state"] != "failed", job
        job = own.get(f"/v1/jobs/{job['id']}").json()
    assert job["document_ids"] == [one["id"] for one in documents]
    ids, page = [], own.get("/v1/documents", params={"limit": 7}).json()
    while True:
        ids += [one["id"] for one in page["data"]]
        if page["next"] is None:
            break
        page = own.get("/v1/documents", params={"limit": 7, "after": page["next"]}).json()
    assert ids == sorted(["Nightjar", *(one["id"] for one in documents)])
    assert fsck(tmp_path / "store").clean
    assert own.get("/v1/jobs/j-0").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"documents": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}, 400),
        ({"documents": []}, 400),
        ({"documents": [{"id": "", "text": "x"}]}, 400),
        ({"documents": [{"id": "a"}]}, 400),
        ({"documents": [{"text": "x", "metadata": {"a": [1]}}]}, 400),
        ({"documents": [{"text": "x", "metadata": {"a": "b" * 20_000}}]}, 422),
        ({"documents": [{"text": "a\x00b"}]}, 202),
    ],
)
def test_what_cannot_be_stored_is_refused_whole(
    own: TestClient, body: dict[str, Any], status: int
) -> None:
    answer = own.post("/v1/documents?wait=true", json=body)
    assert answer.status_code == status, answer.text
    if status != 202:
        assert "error" in answer.json()
        assert len(own.get("/v1/documents").json()["data"]) == 1


def test_no_id_names_a_file_of_the_server(own: TestClient, tmp_path: Path) -> None:
    for name in ("..%2F..%2Fsecret", "%2Fetc%2Fpasswd", "default%2Fcatalogue.db"):
        assert own.get(f"/v1/documents/{name}").status_code == 404
        assert own.put(f"/v1/documents/{name}?wait=true", json={"text": "x"}).status_code == 202
        assert own.delete(f"/v1/documents/{name}").status_code == 200
    assert {one.name for one in tmp_path.iterdir()} == {"store"}


def test_a_browser_gets_a_page_that_loads_nothing(own: TestClient) -> None:
    text = "Before. <script>alert(1)</script> After."
    put(own, "x", text, title="<b>Title</b>")
    page = own.get(
        "/v1/documents/x", params={"start": 8, "end": 33}, headers={"Accept": "text/html"}
    )
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert '<mark id="span">&lt;script&gt;alert(1)&lt;/script&gt;</mark> After.' in page.text
    assert "<script" not in page.text
    assert "<b>" not in page.text
    cut = own.get("/v1/documents/x", params={"start": 8, "end": 33}).json()
    assert cut["text"] == text[8:33]
    for odd in ({"start": 99}, {"start": 5, "end": 2}, {"end": 10**9}):
        assert own.get("/v1/documents/x", params=odd).status_code == 200
        page = own.get("/v1/documents/x", params=odd, headers={"Accept": "text/html"})
        assert page.status_code == 200
    assert own.get("/v1/documents/x", params={"start": -1}).status_code == 400


def test_a_link_in_an_answer_opens_its_document_without_a_key_and_no_other(
    chain_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(ServerSettings(store=chain_root, keys=(api_key("k"),))) as client:
        body = client.post("/v1/chat/completions", json=ASK, headers=bearer("k")).json()
        cited = body["choices"][0]["message"]["annotations"][0]["url_citation"]
        link = cited["url"].partition("#")[0]
        assert client.get(link).status_code == 200
        document = urlsplit(link).path.rpartition("/")[2]
        other = link.replace(f"/{document}?", "/d8?" if document != "d8" else "/d1?")
        changed = [
            link.replace(*one)
            for one in (
                ("signature=", "signature=x"),
                ("until=", "until=9"),
                ("tenant=default", "tenant=other"),
            )
        ]
        for wrong in (other, *changed, link.partition("?")[0]):
            assert client.get(wrong).status_code == 401, wrong
        monkeypatch.setattr("time.time", lambda: 4e9)
        assert client.get(link).status_code == 401, "it is over"


def test_a_signature_is_of_one_tenant_document_and_day() -> None:
    made = signature(b"s" * 32, "a", "d", 2**40)
    assert opens(b"s" * 32, "a", "d", 2**40, made)
    assert not opens(b"t" * 32, "a", "d", 2**40, made)
    assert not opens(b"s" * 32, "b", "d", 2**40, made)
    assert not opens(b"s" * 32, "a", "e", 2**40, made)
    assert not opens(b"s" * 32, "a", "d", 2**41, made)
    assert not opens(b"s" * 32, "a", "d", 1, signature(b"s" * 32, "a", "d", 1))


def test_a_store_that_is_compacted_meanwhile_answers(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", {f"n{at}": f"Note {at}." for at in range(20)})
    with client_of(ServerSettings(store=root)) as client, Store.open(root) as other:
        over = threading.Event()

        def compact() -> None:
            while not over.is_set():
                other.compact()

        thread = threading.Thread(target=compact)
        thread.start()
        try:
            for at in range(5):
                put(client, f"new{at}", f"Newcomer {at}.")
                assert found(client, f"Newcomer {at}.")[0] == f"new{at}"
                assert client.delete(f"/v1/documents/n{at}").json()["found_afterwards"] == 0
        finally:
            over.set()
            thread.join(60)
    assert fsck(root).clean
