"""Reader of receipt files, the check of their quotes against a store, and their words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.types import Evidence
    from hoptrail.rag.store.store import Store

ABSTAINED = {
    "nothing_found": "nothing in the documents bears on the question",
    "not_in_evidence": "what was found does not answer the question",
    "nothing_verified": "no claim held against its quotes",
    "source_changed": "the documents it would have cited changed meanwhile",
    "out_of_budget": "the budget ended before anything was found",
    "cancelled": "it was told to stop before anything was found",
}
"""Why there is no answer, by the reason of the outcome."""

OWN_WORDS = {
    False: "These are the documents' own words; no model reasoned over them.",
    True: "No claim of the model held against its quotes; these are the documents' own words.",
}
"""Before quotes, by whether they stand in the place of a model's answer."""

STOPPED = {
    "sufficient": "the evidence was enough",
    "unjudged": "it had searched as far as its strategy goes",
    "no_progress": "further searches found nothing new",
    "max_rounds": "it had made as many rounds as it may",
    "out_of_calls": "no model calls were left in the budget",
    "out_of_tokens": "no tokens were left in the budget",
    "out_of_searches": "no searches were left in the budget",
    "out_of_time": "the time was up",
    "cancelled": "it was told to stop",
    "model_unavailable": "the model server did not answer",
}
"""Why a run stopped."""


def cited_evidence(receipt: Receipt) -> list[Evidence]:
    """Evidence cited by the claims, each once, in the order of citation."""
    by_id = {item.id: item for item in receipt.evidence}
    ids = dict.fromkeys(one for claim in receipt.claims for one in claim.evidence)
    return [by_id[one] for one in ids if one in by_id]


def read_receipt(path: Path) -> Receipt:
    """Reads a receipt file.

    Raises:
        SettingsError: the file cannot be read, or is no receipt.
    """
    from pydantic import ValidationError

    from hoptrail.agents.runs.receipt import Receipt

    try:
        return Receipt.parse(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"The receipt {str(path)!r} cannot be read: {error.strerror}."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"])
        raise SettingsError(
            f"{str(path)!r} is no receipt of this version of hoptrail: "
            f"{f'{where}: ' if where else ''}{first['msg'].lower()}. "
            "Write one with hoptrail ask --receipt FILE."
        ) from None


def changed_quotes(receipt: Receipt, store: Store) -> frozenset[str]:
    """Ids of the evidence whose quotes the store's documents no longer have.

    Raises:
        SettingsError: the store has none of the quotes, so the receipt is of another store.
    """
    changed = frozenset(
        item.id
        for item in receipt.evidence
        if store.slice(item.document_id, item.start, item.end) != item.quote
    )
    if changed and len(changed) == len(receipt.evidence):
        raise SettingsError(
            f"None of the receipt's quotes stands in the store at {str(store.root)!r} (tenant "
            f"{store.tenant!r}): name the store that the answer was given from."
        )
    return changed
