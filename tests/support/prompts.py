"""The prompts that ship, by the names that `load` takes."""

from __future__ import annotations

from importlib.resources import files

SHIPPED = sorted(
    f"{folder.name}/{entry.name.removesuffix('.md')}"
    for folder in files("hoptrail.prompts").iterdir()
    if folder.is_dir()
    for entry in folder.iterdir()
    if entry.name.endswith(".md") and entry.name != "system.md"  # the beginning of others
)
