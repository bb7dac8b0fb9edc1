"""The receipts of answers given over HTTP: files in the tenant's folder, the newest kept."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import threading
from pathlib import Path

from hoptrail.agents.runs.receipt import Receipt
from hoptrail.rag.store.layout import can_write, write_whole

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"r-[0-9a-f]{32}")
_FOLDER = "receipts"
_SLACK = 64
"""Files above the limit before the oldest are looked for."""


class ReceiptStore:
    """Keeps and gives receipts by id, each tenant's apart; its methods are for one event loop.

    Args:
        root: the folder of all tenants.
        most: receipts kept for a tenant.
    """

    def __init__(self, root: Path, most: int) -> None:
        self._root, self._most = root, most
        self._kept: dict[str, int] = {}
        """Files by tenant; not there: not counted yet."""
        self._mutex = threading.Lock()

    async def put(self, tenant: str, receipt: Receipt) -> str:
        """Keeps a receipt and returns its id; empty where the tenant's folder cannot be written."""
        return await asyncio.to_thread(self._put, tenant, receipt)

    async def get(self, tenant: str, identifier: str) -> bytes | None:
        """The JSON of a receipt; None: the tenant has none of that id."""
        return await asyncio.to_thread(self._get, tenant, identifier)

    async def forget(self, tenant: str, document_id: str) -> int:
        """Deletes the receipts that quote or name a document; returns how many there were."""
        return await asyncio.to_thread(self._forget, tenant, document_id)

    def _put(self, tenant: str, receipt: Receipt) -> str:
        folder = self._root / tenant
        if not can_write(folder):
            return ""
        identifier = f"r-{secrets.token_hex(16)}"
        try:
            with self._mutex:
                (folder / _FOLDER).mkdir(mode=0o700, exist_ok=True)
                write_whole(folder / _FOLDER / f"{identifier}.json", receipt.json().encode())
                kept = self._kept.get(tenant)
                self._kept[tenant] = len(self._files(tenant)) if kept is None else kept + 1
                if self._kept[tenant] > self._most + _SLACK:
                    self._prune(tenant)
        except OSError as error:  # the answer is not lost with its receipt
            _LOG.warning("A receipt could not be kept: %s.", error.strerror)
            return ""
        return identifier

    def _get(self, tenant: str, identifier: str) -> bytes | None:
        if not _ID.fullmatch(identifier):
            return None
        try:
            return (self._root / tenant / _FOLDER / f"{identifier}.json").read_bytes()
        except OSError:
            return None

    def _forget(self, tenant: str, document_id: str) -> int:
        gone = 0
        for path in self._files(tenant):
            try:
                receipt = Receipt.parse(path.read_bytes())
            except (OSError, ValueError):
                continue
            named = {one.document_id for one in receipt.evidence}
            named |= {one.document_id for one in receipt.candidates}
            if document_id in named:
                path.unlink(missing_ok=True)
                gone += 1
        with self._mutex:
            self._kept.pop(tenant, None)
        return gone

    def _prune(self, tenant: str) -> None:
        files = sorted(self._files(tenant), key=lambda path: path.stat().st_mtime_ns)
        for path in files[: len(files) - self._most]:
            path.unlink(missing_ok=True)
        self._kept[tenant] = min(len(files), self._most)

    def _files(self, tenant: str) -> list[Path]:
        return list((self._root / tenant / _FOLDER).glob("r-*.json"))
