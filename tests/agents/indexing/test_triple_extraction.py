"""Which triples of a reply are kept: those whose names stand in the passage."""

from __future__ import annotations

import pytest

from hoptrail.agents.indexing.triple_extraction import supported
from hoptrail.rag.types import Passage

PASSAGE = Passage(
    id="p", document_id="d", start=0, end=9, title="Heron (ship)",
    text="The Heron was launched at Maddock Yard in 1887 by Ilsa Corrin.",
)  # fmt: skip


@pytest.mark.parametrize(
    ("triple", "kept"),
    [
        (("Heron", "launched in", "1887"), True),
        (("the heron", "launched by", "ILSA CORRIN"), True),
        (("Heron", "is a kind of", "ship"), True),
        (("Heron", "launched in", "1888"), False),
        (("Heron", "launched by", "Ilsa Marsh"), False),
        (("Heron", "is a", "bakery"), False),
        (("?", "launched in", "1887"), False),
        (("Heron", "", "1887"), False),
        (("", "launched in", "1887"), False),
    ],
)
def test_a_triple_must_name_what_its_passage_names(
    triple: tuple[str, str, str], kept: bool
) -> None:
    assert supported([triple], PASSAGE) == ((triple,) if kept else ())
