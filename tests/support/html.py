"""Pages that the command line writes, read back."""

from __future__ import annotations

from html.parser import HTMLParser

TAGS = frozenset(
    {
        "html", "head", "body", "meta", "title", "style", "h1", "h2", "h3", "p", "div", "svg",
        "path", "g", "a", "rect", "text", "section", "blockquote", "details", "summary", "span",
        "b", "ol", "li", "table", "tr", "td", "meter",
    }
)  # fmt: skip
"""All that a page is made of: nothing that loads or runs."""


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute, wherever it stands."""
        return [value for _, found in self.tags if (value := found.get(name)) is not None]

    def check(self) -> None:
        """It loads nothing, runs nothing, and every link leads to somewhere on it."""
        assert {tag for tag, _ in self.tags} <= TAGS
        assert not any(name.startswith("on") for _, found in self.tags for name in found)
        assert self.attributes("src") == []
        (policy,) = self.attributes("content")
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
        ids = self.attributes("id")
        assert len(ids) == len(set(ids))
        links = self.attributes("href")
        assert all(one.startswith("#") for one in links)
        assert {one.removeprefix("#") for one in links} <= set(ids)
