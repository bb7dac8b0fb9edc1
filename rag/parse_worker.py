"""The child process that parses HTML and PDF: `python -P -m hoptrail.rag.parse_worker IN OUT ...`.

Both formats let a small file ask for much time or memory, and their parsers are large. So they run
here, under a memory limit and without network or programs; the parent kills a child that takes too
long. It talks over two pipes in JSON messages (multiprocessing's framing, no pickle).
"""

from __future__ import annotations

import io
import json
import re
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoptrail.rag.sniff import decode
from hoptrail.rag.sources import Refused, os_refusal

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_DROPPED = ("script", "style", "template", "noscript", "svg", "title", "iframe", "object")
_LINES = ("br", "tr", "li", "dt", "dd", "option")
_BLOCKS = (
    *("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "pre", "caption"),
    *("blockquote", "section", "article", "header", "footer", "nav", "aside", "main", "form", "hr"),
    *("fieldset", "figure", "figcaption", "address", "details", "summary", "thead", "tbody"),
)

_BLOCK_MARK, _LINE_MARK = "\ufdd0", "\ufdd1"  # never characters of a text (Unicode 23.7)

_FORBIDDEN = (
    *("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a parser found. An empty title: the file has none."""

    title: str
    text: str


def html_page(data: bytes) -> Page:
    """Returns the text of an HTML file: a blank line between blocks, a line end between lines.

    Scripts, styles, templates and comments are dropped; white space is folded as a browser does,
    but for `pre`. Links and pictures are not followed.

    Raises:
        Refused: the bytes are not text in the declared encoding (UTF-8 without a declaration), or
            no markup at all.
    """
    from bs4 import BeautifulSoup, ParserRejectedMarkup  # noqa: PLC0415  (lazily: 0.2 s)
    from bs4.dammit import EncodingDetector  # noqa: PLC0415

    declared = EncodingDetector.find_declared_encoding(data[:4096], is_html=True)
    text = decode(data, declared).replace(_BLOCK_MARK, "").replace(_LINE_MARK, "")
    try:
        soup = BeautifulSoup(text, "html.parser")
    except ParserRejectedMarkup as error:
        raise Refused(f"is not HTML ({error})", "malformed") from None
    heading = soup.find("title") or soup.find("h1")
    title = " ".join(heading.get_text().split()) if heading else ""
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    return Page(title=title, text=_layout(soup))


def _layout(soup: BeautifulSoup) -> str:
    for pre in soup.find_all("pre"):
        for string in pre.find_all(string=True):
            string.replace_with(string.replace("\n", _LINE_MARK))
    for mark, names in ((_BLOCK_MARK, _BLOCKS), (_LINE_MARK, _LINES), (" ", ("td", "th"))):
        for tag in soup.find_all(names):
            tag.insert_before(mark)
            tag.insert_after(mark)
    blocks = []
    for block in soup.get_text().split(_BLOCK_MARK):
        lines = (" ".join(line.split()) for line in block.split(_LINE_MARK))
        blocks.append("\n".join(line for line in lines if line))
    return "\n\n".join(block for block in blocks if block)


def pdf_page(data: bytes, text_chars: int) -> Page:
    """Returns the text of a PDF file, a blank line between pages.

    Raises:
        Refused: it is encrypted, holds no text, holds more than `text_chars`, or is damaged.
    """
    from pypdf import PdfReader  # noqa: PLC0415
    from pypdf.errors import DependencyError, PyPdfError  # noqa: PLC0415

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("is encrypted: save it without a password", "malformed")
        pages, size = [], 0
        for page in reader.pages:
            pages.append(_clean(page.extract_text()).strip())
            size += len(pages[-1])
            if size > text_chars:
                raise _too_much(text_chars)
        title = reader.metadata.title if reader.metadata else None
    except DependencyError:
        raise Refused("is encrypted: save it without a password", "malformed") from None
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # pypdf meets a damaged file with whatever its code trips over
        raise Refused(f"is a damaged PDF ({type(error).__name__}: {error})", "malformed") from None
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise Refused("holds no text, as scans do: run a text recognition first", "empty")
    return Page(title=" ".join(_clean(title or "").split()), text=text)


def _clean(text: str) -> str:
    """Returns the text without what fonts with broken tables give: NULs and half characters."""
    return re.sub("[\ud800-\udfff]", "\ufffd", str(text).replace("\0", ""))


def _too_much(text_chars: int) -> Refused:
    return Refused(f"gives more than {text_chars:,} characters of text", "too_large")


def read_bytes(path: Path, most: int) -> bytes:
    """Returns a file's bytes.

    Raises:
        Refused: it has more than `most`, is no longer there or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise os_refusal(error) from None
    if len(data) > most:
        raise Refused(f"is larger than {most:,} bytes", "too_large")
    return data


def check_text(text: str, text_chars: int) -> str:
    """Returns the text. Raises Refused if it is blank or longer than `text_chars`."""
    if len(text) > text_chars:
        raise _too_much(text_chars)
    if not text.strip():
        raise Refused("holds no text", "empty")
    return text


def answer(request: dict[str, Any]) -> dict[str, str]:
    """Returns {"title", "text"} or {"reason", "kind"} for {"path", "format", two limits}."""
    try:
        data = read_bytes(Path(request["path"]), request["file_bytes"])
        pdf = request["format"] == "pdf"
        page = pdf_page(data, request["text_chars"]) if pdf else html_page(data)
        return {"title": page.title, "text": check_text(page.text, request["text_chars"])}
    except Refused as refused:
        return {"reason": refused.reason, "kind": refused.kind}
    except RecursionError:
        return {"reason": "is nested too deeply", "kind": "malformed"}


def seal(memory_bytes: int) -> None:
    """Limits this process's memory and takes network and other programs from it, for good.

    Where the system does not let a process limit its address space (macOS), there is no limit.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    def forbid(event: str, _arguments: object) -> None:
        if event in _FORBIDDEN:
            raise PermissionError(f"a parser tried {event}")

    sys.addaudithook(forbid)


def main(arguments: list[str]) -> None:
    """Serves requests until the parent hangs up."""
    incoming = Connection(int(arguments[0]), writable=False)
    outgoing = Connection(int(arguments[1]), readable=False)
    seal(memory_bytes=int(arguments[2]))
    grace = 2 * float(arguments[3]) + 10
    outgoing.send_bytes(b"{}")
    while True:
        try:
            request = json.loads(incoming.recv_bytes())
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, grace)  # ends a child whose parent was killed
        try:
            reply = json.dumps(answer(request)).encode()
        except MemoryError:
            reply = json.dumps({"kind": "memory", "reason": ""}).encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        outgoing.send_bytes(reply)


if __name__ == "__main__":
    main(sys.argv[1:])
