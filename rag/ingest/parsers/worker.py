"""The sealed child process that parses and splits: `python -P -m …parsers.worker IN OUT ...`.

All formats but plain text and JSON lines let a small file ask for much time or memory, and their
parsers are large. So they run here, under a memory limit and without network or programs, and so
does the splitting of long texts; the parent kills a child that takes too long. It talks over two
pipes in JSON messages (multiprocessing's framing, no pickle).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.packing import passage_spans
from hoptrail.rag.ingest.parsers.base import Page, PageLimits, check_text, read_bytes
from hoptrail.rag.ingest.parsers.decoding import decode
from hoptrail.rag.ingest.parsers.delimited import delimited_page
from hoptrail.rag.ingest.parsers.epub import epub_page
from hoptrail.rag.ingest.parsers.html import html_page
from hoptrail.rag.ingest.parsers.markdown import markdown_page
from hoptrail.rag.ingest.parsers.office import docx_page, pptx_page, xlsx_page
from hoptrail.rag.ingest.parsers.pdf import pdf_page

_FORBIDDEN = (
    *("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
)

_EXTRAS = {"docx": "office", "pptx": "office", "openpyxl": "office"}
"""Libraries of optional formats, and the extra that installs each."""

_PARSERS: dict[str, Callable[[bytes, PageLimits], Page]] = {
    "html": lambda data, _: html_page(data),
    "markdown": lambda data, _: markdown_page(decode(data)),
    "pdf": lambda data, limits: pdf_page(data, limits.text_chars),
    "csv": lambda data, limits: delimited_page(decode(data), limits.text_chars),
    "docx": docx_page,
    "pptx": pptx_page,
    "xlsx": xlsx_page,
    "epub": epub_page,
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Returns what a request asks for, or {"reason", "kind"}.

    {"title", "text"} for {"path", "format", "file_bytes", "limits" of the page}; {"spans"} for
    {"split": arguments of `passage_spans`}.
    """
    try:
        if "split" in request:
            return {"spans": passage_spans(**request["split"])}
        page = _page(request)
        return {"title": page.title, "text": check_text(page.text, request["limits"]["text_chars"])}
    except UnreadableFile as refused:
        return {"reason": refused.reason, "kind": refused.kind}
    except RecursionError:
        return {"reason": "is nested too deeply", "kind": "malformed"}
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        remedy = f"pip install 'hoptrail[{extra}]'" if extra else "Reinstall hoptrail"
        reason = f"cannot be read: the library {error.name!r} is not installed. {remedy}"
        return {"reason": reason, "kind": "unreadable"}
    except ImportError as error:
        if "map segment" in str(error):  # the memory limit, met while a library is loaded
            raise MemoryError from None
        reason = f"cannot be read: a library cannot be loaded ({error}). Reinstall hoptrail"
        return {"reason": reason, "kind": "unreadable"}


def _page(request: dict[str, Any]) -> Page:
    data = read_bytes(Path(request["path"]), request["file_bytes"])
    return _PARSERS[request["format"]](data, PageLimits(**request["limits"]))


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
