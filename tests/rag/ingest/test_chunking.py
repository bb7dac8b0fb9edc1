"""Passages: exact offsets, budget, cover; greedy as a slow independent packer is."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.chunking import chunk, chunk_record
from hoptrail.rag.text.sentences import sentences
from hoptrail.rag.text.tokens import count_tokens
from hoptrail.rag.types import Document, Passage, passage_id

# ruff: noqa: RUF005
PIECES = st.sampled_from(
    [" ", " ", " ", "\n", "\r\n", "\n\n", "\r\n\r\n", "\t", "\f", "\u00a0", "\u2028", "\x1c"]
    + ["A short one.", "Is it?", "The ship left Hull in 1911 and never came back.", "e.g. this"]
    + ["中文句子。" * 9, "x" * 70, "👩‍👩‍👧" * 12, "e\u0301" * 30, "word " * 40, "- item\n" * 20]
    + [".\n \nNext", "]]>\n", "?!", "<|endoftext|>", '."'],
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=50).map("".join))
BUDGETS = st.integers(min_value=8, max_value=60)


def document(text: str, title: str = "A title") -> Document:
    return Document(id="d", title=title, text=text)


def assert_faithful(source: Document, passages: tuple[Passage, ...]) -> None:
    covered = bytearray(len(source.text))
    for passage in passages:
        assert passage.text == source.text[passage.start : passage.end]
        assert passage.text == passage.text.strip() != ""
        assert passage.id == passage_id(source.id, passage.start, passage.end)
        assert (passage.document_id, passage.title) == (source.id, source.title)
        covered[passage.start : passage.end] = b"\1" * (passage.end - passage.start)
    missed = [c for c, seen in zip(source.text, covered, strict=True) if not seen]
    assert not "".join(missed).strip()
    assert len({passage.id for passage in passages}) == len(passages)
    assert [p.start for p in passages] == sorted(p.start for p in passages)


@settings(deadline=None)
@given(TEXTS, BUDGETS, st.data())
def test_passages_are_exact_cover_the_text_and_keep_the_budget(
    text: str, budget: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(min_value=0, max_value=budget - 1))
    passages = chunk(document(text), budget=budget, overlap=overlap)
    assert_faithful(document(text), passages)
    assert all(count_tokens(passage.text) <= budget for passage in passages)


@settings(deadline=None)
@given(TEXTS, BUDGETS)
def test_without_overlap_passages_do_not_touch(text: str, budget: int) -> None:
    passages = chunk(document(text), budget=budget)
    assert all(a.end <= b.start for a, b in pairwise(passages))


def slow_packer(text: str, budget: int) -> list[tuple[int, int]]:
    """Whole sentences only, counting the whole passage for every sentence."""
    packed: list[tuple[int, int]] = []
    for start, end in sentences(text):
        assert count_tokens(text[start:end]) <= budget
        if packed and count_tokens(text[packed[-1][0] : end]) <= budget:
            packed[-1] = (packed[-1][0], end)
        else:
            packed.append((start, end))
    return packed


SENTENCES = st.lists(
    st.tuples(
        st.sampled_from(["The ship left.", "Was it 1911?", "It's (so) far!", "Né 中。", "A"]),
        st.sampled_from([" ", "  ", "\n", "\r\n", " \n", "\n\n", "\n  ", "\t", "\n \n", "\u3000"]),
    ),
    max_size=40,
).map(lambda pairs: "".join(part for pair in pairs for part in pair))


@settings(deadline=None)
@given(SENTENCES, st.integers(min_value=60, max_value=90))
def test_packing_equals_a_packer_that_counts_everything(text: str, budget: int) -> None:
    if any(count_tokens(text[a:b]) > budget for a, b in sentences(text)):
        return
    packed = [(p.start, p.end) for p in chunk(document(text), budget=budget)]
    assert packed == slow_packer(text, budget)


@pytest.mark.parametrize("text", ["", " ", "\r\n\f\u3000\n"])
def test_a_blank_document_has_no_passages(text: str) -> None:
    assert chunk(document(text)) == ()
    assert chunk_record(document(text), 256) == ()


def test_overlap_repeats_whole_sentences() -> None:
    text = " ".join(f"Ship number {n} left the harbour." for n in range(10, 40))
    size = count_tokens(" Ship number 10 left the harbour.")
    passages = chunk(document(text), budget=5 * size, overlap=2 * size)
    starts = {start for start, _ in sentences(text)}
    for before, after in pairwise(passages):
        shared = text[after.start : before.end]
        assert after.start in starts
        assert 0 < count_tokens(shared) <= 2 * size
        assert shared.count("harbour") == 2


def test_a_long_sentence_is_cut_between_lines_then_words_then_characters() -> None:
    lines = "\n".join(f"item {n} costs {n} crowns" for n in range(50))
    cut = chunk(document(lines), budget=40)
    assert all(passage.text.startswith("item") for passage in cut)
    assert all(passage.text.endswith("crowns") for passage in cut)
    words = " ".join(["wandering"] * 200)
    cut = chunk(document(words), budget=40)
    assert all(set(passage.text.split()) == {"wandering"} for passage in cut)
    cut = chunk(document("z" * 1000), budget=40)
    assert "".join(passage.text for passage in cut) == "z" * 1000
    chinese = "我们今天去海边看船，然后回家吃饭。" * 30
    cut = chunk(document(chinese), budget=40)
    assert all(passage.text[-1] in "，。" for passage in cut)


def test_a_huge_document() -> None:
    text = (
        "\r\n\r\n".join(
            " ".join(f"Voyage {n}.{m} ended in port." for m in range(30)) for n in range(700)
        )
        + "q" * 100_000
    )
    assert len(text) > 600_000
    source = document(text)
    passages = chunk(source)
    assert_faithful(source, passages)
    assert all(count_tokens(passage.text) <= 180 for passage in passages)


@pytest.mark.parametrize(("budget", "overlap"), [(7, 0), (0, 0), (-5, 0), (100, 100), (100, -1)])
def test_impossible_settings_are_refused(budget: int, overlap: int) -> None:
    with pytest.raises(SettingsError, match="Set "):
        chunk(document("a"), budget=budget, overlap=overlap)


def test_a_record_stays_whole_until_the_window_is_full() -> None:
    text = " ".join(f"Ship number {n} left the harbour." for n in range(200))
    tokens = count_tokens(text) + count_tokens("A title")
    (whole,) = chunk_record(document(f"  {text}\n"), tokens)
    assert (whole.start, whole.text) == (2, text)
    several = chunk_record(document(text), tokens - 1)
    assert len(several) == 2
    assert_faithful(document(text), several)
    small = chunk_record(document(text), 64)
    assert all(count_tokens(p.text) <= 0.75 * (64 - 2) for p in small)


def test_a_record_with_a_title_above_the_window_still_gets_passages() -> None:
    source = document("One. Two. Three.", title="word " * 500)
    passages = chunk_record(source, 64)
    assert_faithful(source, passages)
    with pytest.raises(SettingsError, match="reads only 8 tokens"):
        chunk_record(source, 8)
