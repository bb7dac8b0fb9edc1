"""The error tree of hoptrail: each error is a user's mistake or the environment's, with a remedy.

    HoptrailError
    ├── SettingsError        a wrong value, key or combination
    ├── StoreError
    │   ├── StoreMissing     no store there
    │   ├── StoreBusy        another process holds the writer's lock
    │   ├── StoreReadOnly    it can only be read here: its disk or its rights
    │   ├── StoreMismatch    made with another embedder, dimension or format
    │   ├── TreeMissing      the store has no tree
    │   ├── TreeMismatch     the tree is of another embedder, dimension, format or store
    │   ├── StoreDamaged     a file of the store cannot be read; says how to repair it
    │   ├── StoreFull        the disk is full; nothing committed was lost
    │   └── BackendRefused   the chosen backend lacks what was asked
    ├── EmbedderError        the embedder cannot be found or does not answer
    ├── ParseError           a file cannot be turned into text (reported per file, never fatal)
    └── ModelError           the model server (agents add their own below it)

A bug is an `assert` or any other exception; a model's misbehaviour is a value, not an exception.
"""

from __future__ import annotations


class HoptrailError(Exception):
    """Base class of every error a user can act on; `str(error)` is a sentence with the remedy."""


class SettingsError(HoptrailError, ValueError):
    """A wrong value, key or combination of settings."""


class StoreError(HoptrailError):
    """Base of the errors about a store."""


class StoreMissing(StoreError):
    """There is no store at that place."""


class StoreBusy(StoreError):
    """Another process holds the lock that this call needs."""


class StoreReadOnly(StoreError):
    """The store is on a read-only disk, or the user has no right to write it."""


class StoreMismatch(StoreError):
    """The store was made with another embedder, dimension or format version."""


class TreeMissing(StoreError):
    """The store has no tree."""


class TreeMismatch(StoreError):
    """The tree was made with another embedder, dimension or format, or over another store."""


class StoreDamaged(StoreError):
    """A file of the store cannot be read."""


class StoreFull(StoreError):
    """The disk is full; everything committed before is still there."""


class BackendRefused(StoreError):
    """The backend cannot do what was asked of it."""


class EmbedderError(HoptrailError):
    """The embedder cannot be found, or its server does not answer."""


class ParseError(HoptrailError):
    """A file cannot be turned into text."""


class ModelError(HoptrailError):
    """The model server cannot be used."""
