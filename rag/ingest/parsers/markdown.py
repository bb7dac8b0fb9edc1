"""Markdown parser: CommonMark with tables, read as the page that it makes; front matter first."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, MutableMapping, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hoptrail.rag.ingest.parsers.base import Page, short_title
from hoptrail.rag.ingest.parsers.html import page_of_markup

if TYPE_CHECKING:
    from markdown_it.renderer import RendererHTML
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token
    from markdown_it.utils import OptionsDict

_FRONT = re.compile(r"(?s)\A(---|\+\+\+)[ \t]*\r?\n(.*?)(?:(?<=\n)(?:\1|\.\.\.)[ \t]*(?:\r?\n|\Z))")
_LONGEST_FRONT = 65_536
"""Characters of front matter; what is longer is text."""

_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_BLOCK_NESTING, _INLINE_NESTING = 100, 20
"""Levels of lists and quotes, below which text is lost; and of brackets, which cost time."""
_QUOTE_NESTING = 10
"""Levels of quotes, deeper ones are of this level: each looks at each line that is below it."""
_LINE_HEAD = re.compile(r"(?m)^[ \t>*+.)\d-]{11,}")
_PADDED_CELLS = 400
"""Cells that a table's rows may lack; the rows after that are text."""


def markdown_page(text: str) -> Page:
    """Returns title and text of a Markdown file: what its page shows, without markup.

    The title is that of the front matter (YAML or TOML), else the first heading. Front matter is no
    part of the text; links are their words, pictures their descriptions, code stays as it is.
    """
    from markdown_it import MarkdownIt  # noqa: PLC0415  (lazily: heavy)

    # A constant of the library, whose 65,536 a table of a few hundred bytes may ask for.
    vars(import_module("markdown_it.rules_block.table"))["MAX_AUTOCOMPLETED_CELLS"] = _PADDED_CELLS
    facts, body = _front_matter(text)
    reader = MarkdownIt("commonmark", {"html": True, "maxNesting": _BLOCK_NESTING})
    reader.enable(["table", "strikethrough"])
    reader.core.ruler.before("inline", "inline_nesting", _limit_inline)
    reader.add_render_rule("image", _description)
    page = page_of_markup(reader.render(_LINE_HEAD.sub(_fewer_quotes, body)), _HEADINGS)
    title = facts.get("title")
    named = " ".join(title.split()) if isinstance(title, str) else ""
    return Page(title=short_title(named) or page.title, text=page.text)


def _fewer_quotes(head: re.Match[str]) -> str:
    """The marks of lists and quotes at the head of a line, without the quotes that are too deep."""
    marks = head[0].split(">")
    kept = marks[: _QUOTE_NESTING + 1]
    return ">".join(kept) + "".join(marks[_QUOTE_NESTING + 1 :])


def _limit_inline(state: StateCore) -> None:
    state.md.options["maxNesting"] = _INLINE_NESTING


def _description(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    at: int,
    options: OptionsDict,
    env: MutableMapping[str, object],
) -> str:
    return escape(renderer.renderInlineAsText(tokens[at].children or [], options, env))


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The facts of the front matter, and the text after it; none if the head is something else."""
    found = _FRONT.match(text[:_LONGEST_FRONT])
    if found is None:
        return {}, text
    facts = _read_facts(_yaml if found[1] == "---" else tomllib.loads, found[2])
    return (facts, text[found.end() :]) if facts is not None else ({}, text)


def _read_facts(read: Callable[[str], Any], source: str) -> dict[str, Any] | None:
    """The mapping that `source` spells out; None if it is none, as between two thematic breaks."""
    try:
        facts = read(source)
    except (ValueError, RecursionError):
        return None
    if facts is None:
        return {}
    return facts if isinstance(facts, dict) else None


def _yaml(source: str) -> Any:  # noqa: ANN401
    import yaml  # noqa: PLC0415

    try:
        return yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
