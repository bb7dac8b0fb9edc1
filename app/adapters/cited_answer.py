"""An answer as text for another program's model: its claims, then the numbered quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hoptrail.app.text import one_line, shown, without_citations

if TYPE_CHECKING:
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.types import Claim, Evidence

NOTHING = "Nothing in the documents answers this."


def cited(receipt: Receipt) -> tuple[Evidence, ...]:
    """The quotes that the claims cite, each once, in the order of citation."""
    by_id = {item.id: item for item in receipt.evidence}
    ids = dict.fromkeys(one for claim in receipt.claims for one in claim.evidence)
    return tuple(by_id[one] for one in ids if one in by_id)


def cited_answer(receipt: Receipt) -> str:
    """The answer with the numbers of its quotes, and the quotes with their places."""
    if receipt.outcome.kind == "abstained":
        return NOTHING
    numbers = {item.id: number for number, item in enumerate(cited(receipt), 1)}
    lines = [_claim(claim, numbers) for claim in receipt.claims]
    said = {claim.text for claim in receipt.claims}
    if receipt.answer and not receipt.extractive and receipt.answer not in said:
        lines.insert(0, without_citations(shown(receipt.answer)))
    for item in cited(receipt):
        place = f"{item.document_id}, characters {item.start} to {item.end}"
        line = f"[{numbers[item.id]}] {item.title or item.document_id} ({place})"
        lines.append(one_line(line if receipt.extractive else f"{line}: {item.quote}"))
    return "\n".join(lines)


def _claim(claim: Claim, numbers: Mapping[str, int]) -> str:
    marks = "".join(f"[{numbers[one]}]" for one in claim.evidence if one in numbers)
    return f"{without_citations(shown(claim.text))} {marks}".rstrip()
