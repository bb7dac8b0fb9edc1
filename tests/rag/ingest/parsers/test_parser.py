"""Files into documents: every format, every kind of broken file, and nothing fetched."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.discovery import find_files
from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page
from hoptrail.rag.ingest.parsers.decoding import decode
from hoptrail.rag.ingest.parsers.html import html_page
from hoptrail.rag.ingest.parsers.jsonl import record
from hoptrail.rag.ingest.parsers.parser import FileProblem, Parsed, ParseLimits, Parser
from hoptrail.rag.types import Document

Value = TypeVar("Value")


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as shared:
        yield shared


def read(parser: Parser, path: Path) -> list[Parsed | FileProblem]:
    (source,) = find_files([path]).files
    return list(parser.read(source))


def read_document(parser: Parser, path: Path) -> Parsed:
    (item,) = read(parser, path)
    assert isinstance(item, Parsed), item
    return item


def read_problem(parser: Parser, path: Path) -> FileProblem:
    (item,) = read(parser, path)
    assert isinstance(item, FileProblem), item
    return item


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def value_or_refusal(call: Callable[[], Value]) -> Value | UnreadableFile:
    """What the call returns or refuses with; any other exception fails the test."""
    try:
        return call()
    except UnreadableFile as refused:
        return refused


def make_pdf(path: Path, pages: Sequence[str], *, link: str = "", title: str = "") -> Path:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    pdf = canvas.Canvas(str(path))
    if title:
        pdf.setTitle(title)
    for page in pages:
        for row, line in enumerate(page.split("\n")):
            pdf.drawString(72, 720 - 20 * row, line)
        if link:
            pdf.linkURL(link, (0, 0, 500, 800))
        pdf.showPage()
    pdf.save()
    return path


def bomb_pdf(path: Path, megabytes: int) -> Path:
    """A PDF whose only page is `megabytes` of spaces, compressed about a thousand times."""
    packer = zlib.compressobj(9)
    stream = b"".join(packer.compress(b" " * 10**6) for _ in range(megabytes)) + packer.flush()
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /MediaBox [0 0 9 9] >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    xref = len(out)
    out += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % o for o in offsets)
    out += b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % xref
    return write(path, out)


# What each format gives


def test_plain_text_is_kept_as_it_stands(parser: Parser, tmp_path: Path) -> None:
    text = "Line one.\r\nÜber, 中文, \u2028 end.\f"
    item = read_document(parser, write(tmp_path / "Ä note.txt", text))
    assert item.document.text == text
    assert item.document.title == unicodedata.normalize("NFC", "Ä note")
    assert item.document.metadata == {"source": "Ä note.txt", "format": "text"}
    assert not item.is_record


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(parser: Parser, tmp_path: Path, encoding: str) -> None:
    item = read_document(parser, write(tmp_path / "a.txt", "Größe 中".encode(encoding)))
    assert item.document.text == "Größe 中"


TAG_SOUP = ["<p>", "</p>", "<pre>", "<td>", "a&b", "\n", "<!--", "-->", "<br", "<script>", "é"]

HTML = """<!DOCTYPE html>
<html><head><title> The  Heron </title><style>p {color: red}</style>
<link rel="stylesheet" href="http://h.invalid/a.css"><base href="http://h.invalid/">
<script src="http://h.invalid/a.js">alert('no')</script></head>
<body><!-- a comment --><h1>A&nbsp;ship</h1><p>She   was <b>fast</b>er &amp;
old.<br>Very.</p><img src="http://h.invalid/i.png" alt="x"><iframe src="http://h.invalid/">no</iframe>
<ul><li>one<li>two</ul><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>
<template>hidden</template><pre>x = 1
y  = 2</pre><noscript>no</noscript></body></html>"""


def test_html_becomes_lines(parser: Parser, tmp_path: Path) -> None:
    item = read_document(parser, write(tmp_path / "a.html", HTML))
    assert item.document.title == "The Heron"
    assert item.document.text == (
        "A ship\n\nShe was faster & old.\nVery.\n\none\ntwo\n\na\tb\nc\n\nx = 1\ny  = 2"
    )
    assert item.document.metadata["format"] == "html"


def test_html_without_closing_tags_loses_nothing(parser: Parser, tmp_path: Path) -> None:
    item = read_document(parser, write(tmp_path / "a.htm", "<head><title>T</title><body><p>a<p>b"))
    assert (item.document.title, item.document.text) == ("T", "a\n\nb")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-16", "utf-8"),  # who can read the label has read bytes of one each
        ("UTF-16LE", "utf-8"),
        ("iso-8859-1", "cp1252"),
        ("latin1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("x-sjis", "shift_jis"),
        ("windows-31j", "shift_jis"),
        ("gb2312", "gbk"),
        ("windows-874", "cp874"),
        ("koi8-r", "koi8-r"),
    ],
)
def test_labels_of_encodings_are_read_as_browsers_do(
    parser: Parser, tmp_path: Path, label: str, codec: str
) -> None:
    said = {"shift_jis": "東京の店", "gbk": "镕基", "cp874": "ภาษาไทย", "koi8-r": "Пароход"}
    text = said.get(codec, "the harbour’s fee is €40 – François")
    page = f'<meta charset="{label}"><title>Fees</title><p>{text}</p>'.encode(codec)
    item = read_document(parser, write(tmp_path / "a.html", page))
    assert (item.document.title, item.document.text) == ("Fees", text)


@pytest.mark.parametrize("label", ["utf-7", "unicode_escape", "rot13", "zlib", "idna", "cp037"])
def test_no_codec_that_browsers_lack_can_be_named_by_a_file(
    parser: Parser, tmp_path: Path, label: str
) -> None:
    path = write(tmp_path / "a.html", f'<meta charset="{label}"><p>+2AA- \\ud800</p>'.encode())
    problem = read_problem(parser, path)
    assert problem.reason == f"names an unknown encoding, {label!r}"


def test_html_in_a_declared_encoding(parser: Parser, tmp_path: Path) -> None:
    page = "<meta charset=windows-1252><h1>Café</h1>d’été"
    item = read_document(parser, write(tmp_path / "a.html", page.encode("cp1252")))
    assert (item.document.title, item.document.text) == ("Café", "Café\n\nd’été")
    problem = read_problem(parser, write(tmp_path / "b.html", "<p>Café".encode("cp1252")))
    assert problem.reason == "is not utf-8 text: byte 6 is 0xe9. Save it as UTF-8"
    problem = read_problem(parser, write(tmp_path / "c.html", "<meta charset=nonesuch><p>a"))
    assert problem.reason == "names an unknown encoding, 'nonesuch'"


def test_entities_of_a_document_type_are_not_resolved(parser: Parser, tmp_path: Path) -> None:
    page = f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">]><p>a &x; b'
    write(tmp_path / "secret.txt", "the secret")
    text = read_document(parser, write(tmp_path / "a.html", page)).document.text
    assert "secret" not in text
    assert text.endswith("a &x; b")


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<pre>",
                "<td>",
                "a&b",
                "\n",
                "<!--",
                "-->",
                "<br",
                "<script>",
                "&#0;",
                "é",
            ]
        )
    )
)
def test_any_tag_soup_gives_text_or_a_reason(parts: list[str]) -> None:
    page = value_or_refusal(lambda: html_page(" ".join(parts).encode()))
    if isinstance(page, Page):
        assert "\ufdd0" not in page.text
        assert page.text == page.text.strip()


def test_pdf(parser: Parser, tmp_path: Path) -> None:
    path = make_pdf(
        tmp_path / "a.pdf", ["Page one.\nShe sailed.", "Page two."],
        link="http://h.invalid/beacon", title="The  Heron",
    )  # fmt: skip
    item = read_document(parser, path)
    assert item.document.title == "The Heron"
    assert item.document.text == "Page one.\nShe sailed.\n\nPage two."


def test_records_are_streamed_and_bad_lines_named(parser: Parser, tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"id": "a", "title": "A", "text": "One.", "meta": {"y": 1911, "b": true}}',
        b'{"id": 7, "text": "Two.", "from": "elsewhere"}\r',
        b"",
        b"{broken",
        b'["a", "list"]',
        b'{"id": "c"}',
        b'{"text": "no id"}',
        b'{"id": true, "text": "x"}',
        b'{"id": "d", "text": "  "}',
        b'{"id": "e", "text": "x", "meta": {"k": [1]}}',
        b'{"id": "f", "text": "half \\ud83d"}',
        b'{"id": "g", "text": "caf\xe9"}',
        b'{"id": "h", "text": "x", "meta": {"k": NaN}}',
        b'{"id": "i", "text": "x", "title": 5}',
        b"[" * 100_000,
        b'{"id": "j", "text": "x", "meta": {"k": 1e999}}',
        b'{"id": "k\\u0000", "text": "x"}',
        b'{"id": "last", "text": "\\ud83d\\ude00 whole"}',
    ]
    items = read(parser, write(tmp_path / "a.jsonl", b"\n".join(lines)))
    found = [item.document for item in items if isinstance(item, Parsed)]
    assert [(d.id, d.title, d.text) for d in found] == [
        ("a", "A", "One."), ("7", "", "Two."), ("last", "", "😀 whole"),
    ]  # fmt: skip
    assert found[0].metadata == {"y": 1911, "b": True}
    assert all(item.is_record for item in items if isinstance(item, Parsed))
    problems = [item for item in items if isinstance(item, FileProblem)]
    assert [problem.line for problem in problems] == list(range(4, 18))
    reasons = [problem.reason for problem in problems]
    expected = [
        "is not JSON", "is a list, not a JSON object", 'needs a "text"', 'needs an "id"',
        'needs an "id"', 'has a blank "text"', "'k' is not a string", "half a character",
        "is not utf-8 text", "NaN is no JSON number", 'needs a "title"', "nested too deeply",
        "cannot be kept", "control characters",
    ]  # fmt: skip
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True)), reasons
    assert [p.document_id for p in problems] == [
        *[None, None, "c", None, None, "d", "e", "f", None, None, "i", None, "j", None]
    ]
    assert str(problems[1]).endswith(
        "a.jsonl, line 5, is a list, not a JSON object: write one record a line"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a", "text": ' + "9" * 1_000_000 + "}", "is not JSON"),
        ('{"id": ' + "9" * 4_000 + ', "text": "x"}', "above 1000 characters"),
        ('{"id": ' + '{"a":' * 100_000, "nested too deeply"),
        ('{"id": "a", "text": "x", "meta": {"k": ' + "9" * 5_000 + "}}", "is not JSON"),
    ],
    ids=["number", "long-id", "deep", "long-meta"],
)
def test_hostile_records_are_refused(line: str, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        record(line.encode(), 2)


def test_gzipped_records(parser: Parser, tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": f"Text {n}."} for n in range(1000)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    items = read(parser, path)
    assert [i.document.text for i in items if isinstance(i, Parsed)] == [r["text"] for r in rows]
    path.write_bytes(path.read_bytes()[:-300])
    *kept, problem = read(parser, path)
    assert isinstance(problem, FileProblem)
    assert "damaged gzip archive" in problem.reason
    assert kept


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_line_is_a_record_or_a_reason(line: bytes) -> None:
    document = value_or_refusal(lambda: record(line, 2))
    assert not isinstance(document, Document) or document.text.strip()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_decoding_is_exact_or_refused(data: bytes) -> None:
    text = value_or_refusal(lambda: decode(data))
    if isinstance(text, UnreadableFile):
        assert text.kind in {"encoding", "binary"}
    elif not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        assert text.encode() == data.removeprefix(codecs.BOM_UTF8)
        assert "\0" not in text


# What is refused, with the message


@pytest.mark.parametrize(
    ("name", "data", "kind", "reason"),
    [
        ("a.txt", b"", "empty", "is empty"),
        ("a.pdf", b"", "empty", "is empty"),
        ("a.jsonl", b"", "empty", "is empty"),
        ("a.txt", b" \r\n\f", "empty", "holds no text"),
        ("a.html", b"<p> </p>", "empty", "holds no text"),
        ("a.txt", b"abc\xe9", "encoding", "is not utf-8 text: byte 3 is 0xe9. Save it as UTF-8"),
        ("a.txt", b"abc\0def", "binary", "looks binary (a NUL at character 3)"),
        ("a.txt", b"\x80\0\x81", "binary", "looks binary (a NUL at byte 1)"),
        ("a.txt", b"%PDF-1.4 ...", "misnamed", "is named .txt but looks like a PDF"),
        ("a.md", b"PK\x03\x04..", "misnamed", "looks like a zip archive or an office document"),
        ("a.jsonl", b"\x1f\x8b....", "misnamed", "is named .jsonl but looks like a gzip archive"),
        ("a.jsonl.gz", b'{"id": 1}', "misnamed", "is named .jsonl.gz but looks like text"),
        ("a.pdf", b"just words", "misnamed", "is named .pdf but looks like text"),
        ("a.html", b"\x89PNG....", "misnamed", "is named .html but looks like a PNG picture"),
        ("a.jsonl", "{}".encode("utf-16"), "encoding", "is UTF-16"),
        ("a.pdf", b"%PDF-1.4 and no more", "malformed", "is a damaged PDF"),
    ],
)
def test_broken_files(
    parser: Parser, tmp_path: Path, name: str, data: bytes, kind: str, reason: str
) -> None:
    problem = read_problem(parser, write(tmp_path / name, data))
    assert problem.kind == kind
    assert reason in problem.reason
    assert str(problem).startswith(str(tmp_path / name))


def test_a_pdf_without_text_and_an_encrypted_one(parser: Parser, tmp_path: Path) -> None:
    assert "holds no text, as scans do" in read_problem(
        parser, make_pdf(tmp_path / "scan.pdf", [""])
    ).reason  # fmt: skip
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(make_pdf(tmp_path / "b.pdf", ["secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    assert "is encrypted" in read_problem(parser, tmp_path / "locked.pdf").reason


def test_oversized_files(tmp_path: Path) -> None:
    with Parser(ParseLimits(file_bytes=1000, text_chars=500, line_bytes=60)) as parser:
        problem = read_problem(parser, write(tmp_path / "a.txt", "x" * 1001))
        assert (problem.reason, problem.kind) == ("is larger than 1,000 bytes", "too_large")
        problem = read_problem(parser, write(tmp_path / "b.html", "x" * 1001))
        assert problem.reason == "is larger than 1,000 bytes"
        for name in ("c.txt", "c.html"):
            problem = read_problem(parser, write(tmp_path / name, "x" * 501))
            assert problem.reason == "gives more than 500 characters of text"
        long = json.dumps({"id": "x", "text": "y" * 200})
        short = json.dumps({"id": "z", "text": "fine"})
        first, second = read(parser, write(tmp_path / "d.jsonl", f"{long}\n{short}\n"))
        assert isinstance(first, FileProblem)
        assert (first.reason, first.line) == ("is longer than 60 bytes", 1)
        assert isinstance(second, Parsed)


def test_gzip_bombs(tmp_path: Path) -> None:
    good = json.dumps({"id": "a", "text": "fine"}).encode() + b"\n"
    path = write(tmp_path / "a.jsonl.gz", gzip.compress(good + (b" " * 99 + b"\n") * 300_000))
    with Parser() as parser:
        first, problem = read(parser, path)
        assert isinstance(first, Parsed)
        assert isinstance(problem, FileProblem)
        assert problem.kind == "bomb"
        assert "more than 200 times its size" in problem.reason
    with Parser(ParseLimits(gz_bytes=1000)) as parser:
        _, problem = read(parser, path)
        assert isinstance(problem, FileProblem)
        assert "unpacks to more than 1,000 bytes" in problem.reason


def test_a_pdf_bomb_is_refused_and_the_next_file_read(tmp_path: Path) -> None:
    path = bomb_pdf(tmp_path / "bomb.pdf", 200)
    assert path.stat().st_size < 1_000_000
    with Parser(ParseLimits(memory_bytes=700_000_000)) as parser:
        assert read_problem(parser, path).document_id == "bomb.pdf"
        assert read_document(parser, write(tmp_path / "a.html", "<p>fine")).document.text == "fine"


def test_a_file_that_needs_too_much_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", "<p>word</p>" * 6_000_000)
    with Parser(ParseLimits(memory_bytes=250_000_000)) as parser:
        problem = read_problem(parser, path)
        assert problem.kind in {"memory", "crash"}
        assert read_document(parser, write(tmp_path / "b.html", "<p>fine")).document.text == "fine"


STUB = """
import sys, json, os, signal, time
from multiprocessing.connection import Connection
incoming, outgoing = Connection(int(sys.argv[2])), Connection(int(sys.argv[3]))
outgoing.send_bytes(b"{}")
while True:
    path = json.loads(incoming.recv_bytes())["path"]
    if "slow" in path:
        time.sleep(600)
    if "crash" in path:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in path:
        sys.exit(3)
    outgoing.send_bytes(json.dumps({"title": "", "text": str(os.getpid())}).encode())
"""


def test_a_child_that_hangs_or_dies_is_replaced(tmp_path: Path) -> None:
    for name in ("1.html", "2.html", "3slow.html", "4.html", "5crash.html", "6exit.html", "7.html"):
        write(tmp_path / name, "<p>x")
    stub = (sys.executable, "-P", "-c", STUB, "stub")
    with Parser(ParseLimits(seconds=2), worker=stub) as parser:
        items = [next(parser.read(source)) for source in find_files([tmp_path]).files]
    shown = [i.document.text if isinstance(i, Parsed) else f"{i.kind}: {i.reason}" for i in items]
    assert shown[0] == shown[1] != shown[3]
    assert shown[3] != shown[6]
    assert shown[2] == "timeout: takes longer than 2 s to parse"
    assert shown[4] == "crash: makes the parser crash (signal 11)"
    assert shown[5] == "crash: makes the parser crash (exit code 3)"
    for pid in {shown[0], shown[3], shown[6]}:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


PATIENT = """
import sys, json, os, time
from multiprocessing.connection import Connection
from pathlib import Path
incoming, outgoing = Connection(int(sys.argv[2])), Connection(int(sys.argv[3]))
outgoing.send_bytes(b"{}")
while True:
    path = Path(json.loads(incoming.recv_bytes())["path"])
    while "slow" in path.name and not path.with_suffix(".go").exists():
        time.sleep(0.01)
    outgoing.send_bytes(json.dumps({"title": "", "text": str(os.getpid())}).encode())
"""
"""Parses a file with `slow` in its name until one ending in .go lies beside it."""


def test_there_is_something_else_to_do_while_the_child_parses(tmp_path: Path) -> None:
    (source,) = find_files([write(tmp_path / "slow.html", "<p>x")]).files
    calls = []

    def let_go() -> None:
        calls.append(1)
        if len(calls) == 3:
            write(tmp_path / "slow.go", "")

    worker = (sys.executable, "-P", "-c", PATIENT, "stub")
    with Parser(worker=worker, on_idle=let_go) as parser:
        (item,) = parser.read(source)
    assert isinstance(item, Parsed)
    assert len(calls) >= 3


@pytest.mark.parametrize("error", [ZeroDivisionError, BrokenPipeError, KeyboardInterrupt])
def test_what_is_raised_meanwhile_ends_the_child(
    tmp_path: Path, error: type[BaseException]
) -> None:
    for name in ("1.html", "2slow.html", "3.html"):
        write(tmp_path / name, "<p>x")
    sources = find_files([tmp_path]).files

    def fail() -> None:
        raise error

    worker = (sys.executable, "-P", "-c", PATIENT, "stub")
    with Parser(worker=worker) as parser:
        first = next(parser.read(sources[0]))
        parser._child._on_idle = fail
        with pytest.raises(error):
            next(parser.read(sources[1]))
        parser._child._on_idle = lambda: None
        last = next(parser.read(sources[2]))
    assert isinstance(first, Parsed)
    assert isinstance(last, Parsed)
    assert first.document.text != last.document.text
    with pytest.raises(ProcessLookupError):
        os.kill(int(first.document.text), 0)


def test_unreadable_and_vanished_files(
    parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = find_files([write(tmp_path / "a.txt", "x")]).files
    (records,) = find_files([write(tmp_path / "a.jsonl", "{}")]).files
    opened = Path.open

    def denied(path: Path, *args: object, **kwargs: object) -> object:
        if path.suffix in (".txt", ".jsonl"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", denied)
    for one in (source, records):
        (problem,) = parser.read(one)
        assert isinstance(problem, FileProblem)
        assert problem.reason == "cannot be read: Permission denied"
    monkeypatch.undo()
    for one in (source, records):
        one.path.unlink()
        (problem,) = parser.read(one)
        assert isinstance(problem, FileProblem)
        assert (problem.reason, problem.kind) == ("is no longer there", "vanished")


def test_the_child_can_neither_connect_nor_start_programs() -> None:
    code = (
        "import socket, subprocess, os\n"
        "from hoptrail.rag.ingest.parsers.worker import seal\n"
        "seal(10**9)\n"
        "for act in (lambda: socket.create_connection(('127.0.0.1', 9)),\n"
        "            lambda: socket.getaddrinfo('localhost', 80), lambda: os.system('true'),\n"
        "            lambda: subprocess.run(['true']), os.fork):\n"
        "    try: act()\n"
        "    except PermissionError as error: assert 'a parser tried' in str(error)\n"
        "    else: raise SystemExit(f'{act} was let through')\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["file_bytes", "seconds", "gz_ratio"])
def test_limits_must_be_above_zero(name: str) -> None:
    with pytest.raises(SettingsError, match=f"The limit {name} is 0. Set it above 0"):
        ParseLimits(**{name: 0})


# Which files are found


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep.txt").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("b.txt", "A.MD", "sub/x.html", "sub/deep.txt/y.pdf", ".hidden.txt", ".git/z.txt"):
        write(tmp_path / name, "x")
    for name in ("c.odt", "d.py"):
        write(tmp_path / name, "x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    found = find_files([tmp_path])
    names = ["A.MD", "b.txt", "sub/x.html", "sub/deep.txt/y.pdf"]
    assert [s.id for s in found.files] == [f"{tmp_path.name}/{name}" for name in names]
    assert (found.skipped, found.links, found.bytes) == (2, 2, 4)
    (problem,) = found.problems
    assert problem.reason == "is not a regular file"


def test_the_stores_own_files_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for tenant in ("default", "anna"):
        (root / tenant / "runs" / "r1").mkdir(parents=True)
        write(root / tenant / "catalogue.db", "x")
        write(root / tenant / "runs" / "r1" / "ledger.jsonl", "{}")
    (root / "notes").mkdir()
    write(root / "notes" / "a.txt", "x")
    write(tmp_path / "b.txt", "x")

    def found(path: Path) -> list[str]:
        return [source.id for source in find_files([path], store=root).files]

    above = tmp_path.name
    assert found(tmp_path) == [f"{above}/b.txt", f"{above}/store/notes/a.txt"]
    assert found(root) == ["store/notes/a.txt"]
    (tmp_path / "link").symlink_to(root)
    assert found(tmp_path / "link") == ["link/notes/a.txt"]
    for inside in (root / "anna", root / "default" / "runs"):
        with pytest.raises(SettingsError, match="nothing to read"):
            found(inside)
    assert len(find_files([tmp_path]).files) == 4


def test_ids_begin_with_the_roots_name_and_are_in_nfc(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Café.txt")
    write(tmp_path / name, "x")
    assert [s.id for s in find_files([tmp_path]).files] == [f"{tmp_path.name}/Café.txt"]
    assert [s.id for s in find_files([tmp_path / name]).files] == ["Café.txt"]


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    found = find_files([tmp_path])
    assert found.files == []
    assert found.problems[0].path.endswith("caf\\xe9.txt")
    assert found.problems[0].reason == "has a name that is not UTF-8: rename it"


def test_paths_that_overlap_or_have_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.txt", name)
    apart = find_files([tmp_path / "one", tmp_path / "two"])
    assert [s.id for s in apart.files] == ["one/a.txt", "two/a.txt"]
    both = find_files([tmp_path / "one", tmp_path])
    assert [s.id for s in both.files] == [f"{tmp_path.name}/{n}/a.txt" for n in ("one", "two")]
    same = find_files([tmp_path / "one", tmp_path / "one" / "a.txt", tmp_path / "one"])
    assert [s.id for s in same.files] == ["one/a.txt"]
    (tmp_path / "two" / "one").mkdir()
    with pytest.raises(SettingsError, match=r"have one name, 'one'. Ingest them one after the"):
        find_files([tmp_path / "one", tmp_path / "two" / "one"])


def test_paths_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no file or folder '.*absent'"):
        find_files([tmp_path / "absent"])
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    with pytest.raises(SettingsError, match="symbolic links"):
        find_files([loop])
    with pytest.raises(SettingsError, match=r"'.*a\.odt' has no parser. Files ending in \.txt"):
        find_files([write(tmp_path / "a.odt", "x")])
    with pytest.raises(SettingsError, match=r"nothing to read in '.*'. Files ending in \.txt"):
        find_files([tmp_path])
