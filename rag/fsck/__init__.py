"""Consistency check of a store, and its repair."""

from hoptrail.rag.fsck.consistency import FsckReport, fsck
from hoptrail.rag.store.catalogue.audit import Problem

__all__ = ["FsckReport", "Problem", "fsck"]
