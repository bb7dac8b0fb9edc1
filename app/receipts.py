"""Reader of receipt files, and the check of their quotes against a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.rag.store.store import Store


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
