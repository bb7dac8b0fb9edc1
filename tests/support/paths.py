"""Where the repository and what it ships lie."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
WORLD = ROOT / "examples" / "world"
