"""HTML read as a browser shows it: titles, inline and block elements, hidden text, tables."""

from __future__ import annotations

import pytest

from hoptrail.rag.ingest.parsers.base import LONGEST_TITLE
from hoptrail.rag.ingest.parsers.html import html_page


def text(body: str) -> str:
    return html_page(f"<!DOCTYPE html><title>T</title><body>{body}".encode()).text


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<body><svg><title>Menu icon</title></svg><h1>Salt works</h1>", "Salt works"),
        ("<svg><title>Icon</title></svg><title>Late</title><p>x", ""),
        ("<title> The\n Heron </title><svg><title>Icon</title></svg><h1>Other</h1>", "The Heron"),
        ("<title></title><h1>Salt <b>works</b></h1><h1>Two</h1>", "Salt works"),
        ("<h1 hidden>Gone</h1><h1>Shown</h1>", "Shown"),
        ("<h2>Second level</h2>", ""),
    ],
)
def test_title_is_the_heads_else_the_first_heading(page: str, title: str) -> None:
    assert html_page(page.encode()).title == title


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<b>fast</b>er <i>c</i>at", "faster cat"),
        ("<span>T</span><span>he</span> ship", "The ship"),
        ("<b>Mac</b>OS and H<sub>2</sub>O", "MacOS and H2O"),
        ("<span>Phone</span><span>0155-9710</span>", "Phone 0155-9710"),
        ("<span>Anna</span><span>Berg</span>", "Anna Berg"),
        ("<a>Home</a><a>about</a>", "Home about"),
        ("<button>Send</button><button>Reset</button>", "Send Reset"),
        ("<label>Name</label><input value=Aas><input type=hidden value=no>", "Name Aas"),
        ("<select><option>Holm</option><option>Voss</option></select>", "Holm\nVoss"),
        ("a<div>b</div>c<br>d<wbr>e", "a\n\nb\n\nc\nde"),
        ("<p>a<p>b<ul><li>c<li>d</ul>", "a\n\nb\n\nc\nd"),
        ("<pre>if a:\n    b</pre>", "if a:\n    b"),
        ("a&nbsp;b &amp;lt; &#233; &#x1F6A2;", "a b &lt; é 🚢"),
    ],
)
def test_elements_are_separated_as_a_browser_shows_them(body: str, shown: str) -> None:
    assert text(body) == shown


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>gravel</p>",
        "<p hidden=''>gravel</p>",
        "<div style='color:red; DISPLAY : none'>gravel<p>more</p></div>",
        "<div style='visibility:hidden'>gravel</div>",
        "<script>gravel</script><style>gravel</style>",
        "<noscript>gravel</noscript><template>gravel</template>",
        "<!-- gravel --><svg><text>gravel</text></svg>",
        "<iframe>gravel</iframe><object>gravel</object><video>gravel</video>",
        "<dialog>gravel</dialog><datalist><option>gravel</datalist>",
        "<math><annotation>gravel</annotation></math>",
    ],
)
def test_hidden_text_is_left_out_and_what_follows_kept(hidden: str) -> None:
    assert text(f"<p>slate</p>{hidden}<p>tar</p>") == "slate\n\ntar"


@pytest.mark.parametrize(
    "shown",
    [
        *("<p hidden=until-found>slate</p>", "<p aria-hidden=true>slate</p>", "<dialog open>slate"),
        *("<p style='display:block'>slate", "<details><summary>slate</summary></details>"),
    ],
)
def test_what_a_reader_sees_is_kept(shown: str) -> None:
    assert text(shown) == "slate"


def test_a_row_of_a_table_is_a_line() -> None:
    table = (
        "<table><thead><tr><th>Route<th>Fare</thead><tr><td><p>Halden</p><p>return</p><td>40"
        "<tr><td>Vesk<br>single<td>25<tr><td>Holm<td><td>12</table>"
    )
    assert text(table) == "Route\tFare\nHalden return\t40\nVesk single\t25\nHolm\t\t12"


def test_a_table_that_lays_out_a_page_keeps_its_blocks() -> None:
    long = "The ship sailed on. " * 12
    assert text(f"<table><tr><td>Menu<td><p>{long}</p><p>Second.</p></table>") == (
        f"Menu\n\n{long.strip()}\n\nSecond."
    )


def test_a_title_has_a_bound() -> None:
    page = html_page(f"<title>{'word ' * 50_000}</title><p>x".encode())
    assert len(page.title) <= LONGEST_TITLE
    assert page.title.endswith("word…")


@pytest.mark.parametrize(
    ("page", "end"),
    [
        ("<div>" * 100_000 + "bottom" + "</div>" * 100_000 + "after", "bottom after"),
        ("<b><i>" * 50_000 + "bottom", "bottom"),
        ("<p>a &#" + "9" * 1_000_000 + "; b &#x" + "f" * 1_000_000 + "; c", "a � b � c"),
        ("<p " + " ".join(f"a{n}=1" for n in range(100_000)) + ">bottom", "bottom"),
        ("<table><tr><td>" * 3_000 + "bottom", "bottom"),
    ],
    ids=["deep", "deep-inline", "entities", "attributes", "tables"],
)
def test_hostile_markup_is_read(page: str, end: str) -> None:
    assert " ".join(html_page(page.encode()).text.split()) == end
