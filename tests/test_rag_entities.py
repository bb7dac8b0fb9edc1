"""Names that link passages."""

from __future__ import annotations

from hoptrail.rag.entities import entity, named, traces


def test_a_title_is_found_in_another_passage() -> None:
    found = traces("", ["He studied under J. R. R. Tolkien (1892) at Exeter College, Oxford."])[0]
    assert entity("J.R.R. Tolkien") in found.mentions
    assert entity("exeter college, oxford") in found.candidates


def test_names_are_shown_as_they_stand() -> None:
    assert list(named("The poet met Zoë van Dyck near Rome.").values()) == ["Zoë van Dyck", "Rome"]


def test_a_title_is_an_entity_with_and_without_its_brackets() -> None:
    abouts = dict(traces("The Ring (film)", ["A film."])[0].abouts)
    assert abouts[entity("The Ring (film)")] == 1.0
    assert abouts[entity("the ring")] == 0.95
    assert abouts[entity("Ring")] == 0.9
