"""The documents over HTTP: put, delete, list, view, search."""
