"""Schema of the Tantivy index, and the queries that it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tantivy
from tantivy import Occur, Query

from hoptrail.rag.text.analyzer import VERSION

TOKENIZER = "hoptrail"
WORDS, FORMS = "words", f"forms_{VERSION}"  # an index of other terms has other fields
MANY = 512
"""Rows from which on a set is a bit set of the segment; below it is a union of terms."""


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(WORDS, stored=False, tokenizer_name=TOKENIZER, index_option="freq")
    builder.add_text_field(FORMS, stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("facet", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", stored=False, indexed=True, fast=True)
    builder.add_unsigned_field("tie", stored=False, indexed=False, fast=True)
    builder.add_unsigned_field("crc", stored=False, indexed=False, fast=True)
    return builder.build()


SCHEMA = _schema()
_EVERY_ROW = Query.const_score_query(Query.all_query(), 0.0)


def any_of(rows: Iterable[int]) -> Query:
    """The given rows."""
    return union([Query.term_query(SCHEMA, "row", row, "basic") for row in rows])


def span_of(first: int, count: int) -> Query:
    """`count` rows from `first` on."""
    if count < MANY:
        return any_of(range(first, first + count))
    return Query.range_query(SCHEMA, "row", tantivy.FieldType.Unsigned, first, first + count - 1)


def facets_of(facets: Sequence[str]) -> Query:
    """The rows that have every one of the facets."""
    terms = [Query.term_query(SCHEMA, "facet", one, "basic") for one in facets]
    # A query of one clause is not simplified by Tantivy, and costs a third more.
    return terms[0] if len(terms) == 1 else Query.boolean_query([(Occur.Must, t) for t in terms])


def union(clauses: Sequence[Query]) -> Query:
    """The rows that any clause finds, with the sum of their scores."""
    return Query.boolean_query([(Occur.Should, clause) for clause in clauses])


def chain(among: Query, clauses: Sequence[Query]) -> Query:
    """Scores exactly the rows of `among`: ((0 + first) + second) + ..., always in this order.

    `among` stands outside the chain because each query copies what it is made of.
    """
    added = _EVERY_ROW
    for clause in clauses:
        added = Query.boolean_query([(Occur.Must, added), (Occur.Should, clause)])
    chosen = Query.const_score_query(among, 0.0)
    return Query.boolean_query([(Occur.Must, chosen), (Occur.Must, added)])
