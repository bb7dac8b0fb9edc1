"""Sentences: exact spans, parity with nltk as it stands; how their data and tiktoken's load."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.texts import FRAGMENTS, PROSE, TEXTS

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text import sentences as module
from hoptrail.rag.text.sentences import sentence_languages, sentences
from hoptrail.rag.text.tokens import count_tokens


def test_known_sentences() -> None:
    assert [PROSE[a:b] for a, b in sentences(PROSE)] == [
        "Dr. Marlow sailed from Hull on 3 March 1911.",
        "The voyage, e.g. its cost, was noted by Capt. J. S. Veil!",
        '"Was it worth it?"',
        "he asked.",
        "(It was.)",
        "The U.S. fleet arrived later.",
        "Prices rose by 3.5 per cent.",
        "Mr. Onn left...",
    ]


def assert_spans_cover(text: str) -> None:
    spans = sentences(text)
    end = 0
    for start, stop in spans:
        assert not text[end:start].strip()
        assert text[start:stop] == text[start:stop].strip() != ""
        end = stop
    assert not text[end:].strip()


@settings(deadline=None)
@given(TEXTS)
def test_spans_and_gaps_cover_the_text(text: str) -> None:
    assert_spans_cover(text)


@pytest.mark.parametrize("text", ["", " \r\n\f ", "a" * 25_000, "a b " * 9_000, ". " * 12_000])
def test_odd_texts_are_covered(text: str) -> None:
    assert_spans_cover(text)


@pytest.mark.parametrize("gap", ["\n\n", "\r\n\r\n", "\n \t\n", "\f", "\u2029", "\r\r"])
def test_a_blank_line_ends_a_sentence(gap: str) -> None:
    text = f"A heading{gap}and more text"
    assert [text[a:b] for a, b in sentences(text)] == ["A heading", "and more text"]


@pytest.mark.parametrize("gap", ["\n", "\r\n", "\r", "\t", "\u3000"])
def test_a_single_line_end_ends_no_sentence(gap: str) -> None:
    assert len(sentences(f"one line{gap}goes on")) == 1


def nltk_as_it_stands(text: str) -> list[tuple[int, int]]:
    """The same trained parameters, nltk's own patterns and classes."""
    from nltk.tokenize import punkt

    ours = module._splitter("english")
    reference = punkt.PunktSentenceTokenizer(ours._params)
    return list(reference.span_tokenize(text))


@settings(max_examples=60, deadline=None)
@given(st.lists(FRAGMENTS, max_size=40).map(lambda parts: "x" + " ".join(parts) + "x"))
def test_plain_patterns_give_nltks_sentences(text: str) -> None:
    text = text.replace("\x1c", "")  # white space for `re`, not for `regex`
    assert list(module._splitter("english").span_tokenize(text)) == nltk_as_it_stands(text)


PIECES = st.sampled_from([PROSE[a:b] for a, b in sentences(PROSE)] + ["\n\n", "It is No. 4 of 9."])


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=60).map(" ".join), st.integers(150, 400))
def test_windows_do_not_change_the_sentences(text: str, window: int) -> None:
    whole = sentences(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        assert sentences(text) == whole


@pytest.mark.parametrize("unit", ["\u00a0.", "Hi. " + "y" * 9_990, "x.", "\t.\u3000"])
def test_no_window_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """Counted in characters that Punkt is given: at most nine for each of the text's."""
    seen: list[int] = []
    splitter = module._splitter("english")

    class Counting:
        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            seen.append(len(text))
            return list(splitter.span_tokenize(text))

    monkeypatch.setattr(module, "_splitter", lambda _: Counting())
    text = (unit * (60_000 // len(unit)))[:60_000]
    found = sentences(text)
    assert sum(seen) <= 9 * len(text)
    assert all(start < end for start, end in found)


def test_languages_differ_and_an_unknown_one_is_refused() -> None:
    text = "Er kam z.B. am 3. Mai an. Dann ging er."
    assert [text[a:b] for a, b in sentences(text, "german")] == [text[:25], text[26:]]
    assert len(sentences(text)) == 4
    assert {"english", "german", "french"} <= set(sentence_languages())
    with pytest.raises(SettingsError, match=r"'klingon'.*english"):
        sentences("a", "klingon")


def test_unknown_words_are_not_remembered() -> None:
    contexts = module._splitter("english")._params.ortho_context
    before = len(contexts)
    sentences("We met Zorblax. Quuxians left. Frobnitz. Wibbleton stayed. 1. Xyzzy.")
    assert len(contexts) == before


def test_loading_needs_no_network_no_llama_index_and_leaves_the_environment() -> None:
    code = (
        "import os, socket, sys\n"
        "def closed(*a, **k): raise OSError('closed')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = closed\n"
        "from hoptrail.rag.text.sentences import sentences\n"
        "from hoptrail.rag.text.tokens import count_tokens\n"
        "assert count_tokens('Hello world') == 2\n"
        "assert len(sentences('It is. Is it?')) == 2\n"
        "assert os.environ.get('TIKTOKEN_CACHE_DIR') == 'mine'\n"
        "assert 'llama_index.core' not in sys.modules\n"
    )
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": "mine"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_threads_share_the_data() -> None:
    results: list[tuple[int, int]] = []

    def work() -> None:
        results.append((count_tokens(PROSE), len(sentences(PROSE))))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
