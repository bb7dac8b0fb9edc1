"""Token counts by tiktoken's cl100k_base, with no download.

llama-index-core is a dependency today only for the data files inside it: tiktoken's encodings and
nltk's Punkt models. They are read from its folder without importing it (0.9 s).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.rag.errors import HoptrailError

if TYPE_CHECKING:
    import tiktoken

_ENCODING = "cl100k_base"
_ENCODING_FILE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # sha1 of its address: tiktoken's name

_BLOCK = 16_384
"""Characters that tiktoken gets at once; its regular expressions overflow on 10^6 equal ones."""

LOADING = threading.RLock()


def count_tokens(text: str) -> int:
    """Returns how many cl100k_base tokens `text` has; special tokens count as plain text.

    Exact up to 16,384 characters, and beyond wherever a space stands at least every 8,192
    characters; a longer run without one is counted in pieces (a token more or less a piece).
    A served model counts differently: its own usage figures are the truth there.
    """
    encode = _encoding().encode_ordinary
    if len(text) <= _BLOCK:
        return len(encode(text))
    return sum(len(encode(block)) for block in _blocks(text))


def seam(text: str, end: int, start: int) -> int | None:
    """A position in the gap `[end, start)` at which token counts add up exactly.

    That is: count(text[a:p]) + count(text[p:b]) == count(text[a:b]) for all a < end, b > start.
    cl100k_base first cuts a text into words by a regular expression and merges bytes only inside
    them. In that expression a space after a non-space can only begin a word, and a line end
    before a non-space can only close one. None: the gap has neither, so count the whole.
    """
    if text[end : end + 1] == " ":
        return end
    if start > end and text[start - 1] in "\r\n":
        return start
    return None


def static_folder(name: str) -> Path:
    """A data folder that llama-index-core ships, found without importing llama-index.

    Raises:
        HoptrailError: it is not there; says what to install.
    """
    spec = find_spec("llama_index")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(root) / "core" / "_static" / name
        if folder.is_dir():
            return folder
    raise HoptrailError(
        f"The data folder {name!r} of llama-index-core is missing, so texts cannot be split or "
        "counted. Reinstall it: pip install --force-reinstall llama-index-core"
    )


def _encoding() -> tiktoken.Encoding:
    with LOADING:
        return _load_encoding()


@cache
def _load_encoding() -> tiktoken.Encoding:
    import tiktoken  # noqa: PLC0415  (lazily: it loads in 0.1 s)

    folder = static_folder("tiktoken_cache")
    if not (folder / _ENCODING_FILE).is_file():  # tiktoken would go and download it
        raise HoptrailError(
            f"llama-index-core no longer ships the encoding {_ENCODING!r}. Install the release "
            "that the constraints file of hoptrail names."
        )
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return tiktoken.get_encoding(_ENCODING)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _blocks(text: str) -> Iterator[str]:
    """Cuts a long text into blocks, before a space that follows a non-space where there is one."""
    start = 0
    while len(text) - start > _BLOCK:
        low, cut = start + _BLOCK // 2, text.rfind(" ", start, start + _BLOCK)
        while cut > low and text[cut - 1].isspace():
            cut = text.rfind(" ", start, cut)
        cut = cut if cut > low else start + _BLOCK
        yield text[start:cut]
        start = cut
    yield text[start:]
