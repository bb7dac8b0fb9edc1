"""Path traversal: names, ids, links and references that lead out of the folders that were given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.evals.attacks.sandbox import Sandbox
from hoptrail.evals.attacks.types import Kind, Verdict, passed_unless
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Document

_SECRET = "HALYARD-2096"
_IDS = (
    "../../escaped.txt", "/etc/hoptrail-escaped", "a/../../escaped", "..\\..\\escaped", "..", ".",
)  # fmt: skip
_FILES = ("..%2f..%2fescaped", "%00", "...", "-rf", "a\n..b", "$(id)", "\u202egpj")
_TENANTS = ("../default", "..", ".", "/tmp", "a/b", "a\\b", "A", "", ".new-x", "a\0b", "x" * 65)
_REFERENCES = (
    '<!DOCTYPE html [<!ENTITY leak SYSTEM "file://{path}">]><p>&leak; an entity</p>',
    '<base href="file://{folder}/"><iframe src="secret.txt"></iframe><p>A frame.</p>',
    '<object data="file://{path}"></object><img src="file://{path}"><p>An object.</p>',
    '<!--#include file="{path}" --><xi:include href="file://{path}" parse="text"/><p>Included.</p>',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traversal:
    """A way out of a folder; `attempt` tries it and returns the problem, or an empty text."""

    name: str
    attempt: Callable[[Sandbox, Path], str]
    """Gets a scratch folder with `outside/secret.txt` in it."""

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return "traversal"

    def run(self, sandbox: Sandbox) -> Verdict:
        """Tries it, and looks for files that appeared or changed outside the store."""
        folder = sandbox.scratch()
        (folder / "outside").mkdir()
        (folder / "outside" / "secret.txt").write_text(f"The password is {_SECRET}.")
        before = set(_escaped(sandbox, folder))
        problem = self.attempt(sandbox, folder)
        if strays := sorted(map(str, set(_escaped(sandbox, folder)) - before)):
            problem = problem or f"wrote {strays[0]!r}"
        return passed_unless(problem, "nothing read or written outside")


def traversals() -> tuple[Traversal, ...]:
    """All ways out."""
    return (
        Traversal(name="record-ids", attempt=_record_ids),
        Traversal(name="file-names", attempt=_file_names),
        Traversal(name="symbolic-links", attempt=_links),
        Traversal(name="references-in-html", attempt=_references),
        Traversal(name="tenant-names", attempt=_tenants),
    )


def _record_ids(sandbox: Sandbox, _folder: Path) -> str:
    hostile = [Document(id=one, title=one, text="A lamp that climbs out.") for one in _IDS]
    with sandbox.planted(hostile) as ids:
        receipt = sandbox.ask("Which lamp climbs out?")
        for item in receipt.evidence:
            if sandbox.kb.store.slice(item.document_id, item.start, item.end) != item.quote:
                return f"the quote of {item.document_id!r} does not stand in it"
    left = set(ids) & sandbox.kb.store.fingerprints().keys()
    return f"{sorted(left)[0]!r} cannot be deleted" if left else ""


def _file_names(sandbox: Sandbox, folder: Path) -> str:
    files = folder / "files"
    files.mkdir()
    for number, name in enumerate(_FILES):
        (files / f"{name}{number}.txt").write_text("A lamp with a strange name.")
    with sandbox.ingested(files) as ids:
        return "no file was read" if not ids else ""


def _links(sandbox: Sandbox, folder: Path) -> str:
    files = folder / "files"
    files.mkdir()
    (files / "true.txt").write_text("A lamp.")
    for name, target in (("file.txt", "outside/secret.txt"), ("folder", "outside"), ("up", ".")):
        (files / name).symlink_to(folder / target)
    os.symlink("../outside/secret.txt", files / "relative.txt")
    return _read_outside(sandbox, files)


def _references(sandbox: Sandbox, folder: Path) -> str:
    files = folder / "files"
    files.mkdir()
    path = folder / "outside" / "secret.txt"
    for number, text in enumerate(_REFERENCES):
        (files / f"{number}.html").write_text(text.format(path=path, folder=path.parent))
    return _read_outside(sandbox, files)


def _tenants(sandbox: Sandbox, folder: Path) -> str:
    root = folder / "tenants"
    for name in _TENANTS:
        try:
            KnowledgeBase.create(root, tenant=name, embedder=HashEmbedder()).close()
        except (SettingsError, ValueError):
            continue
        return f"the tenant name {name!r} is accepted"
    with KnowledgeBase.create(root, tenant="a", embedder=HashEmbedder()):
        (root / "b").symlink_to(root / "a")
    try:
        KnowledgeBase.open(root, tenant="b", embedder=HashEmbedder()).close()
    except SettingsError:
        return ""
    return "a tenant that is a link to another's folder is opened"


def _read_outside(sandbox: Sandbox, files: Path) -> str:
    """The document that holds the secret of the file outside, after an ingest of `files`."""
    with sandbox.ingested(files) as ids:
        for identifier in ids:
            document = sandbox.kb.store.document(identifier)
            if document is not None and _SECRET in document.text:
                return f"the document {identifier!r} holds text from outside"
        return "no file was read" if not ids else ""


def _escaped(sandbox: Sandbox, folder: Path) -> Iterator[Path]:
    """Files by the names of the attacks, in the sandbox and wherever their paths could lead."""
    for found in sandbox.folder.rglob("*escaped*"):
        if not found.is_relative_to(folder):
            yield found
    for above in (*sandbox.folder.parents, Path("/etc"), Path.cwd(), Path.cwd().parent):
        for name in ("escaped", "escaped.txt", "hoptrail-escaped"):
            if (above / name).exists():
                yield above / name
