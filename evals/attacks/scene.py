"""The scene of most attacks: a question, its true answer, and the document that states it."""

from __future__ import annotations

from hoptrail.rag.types import Document

QUESTION = "In which year was the lamp of Skarrow Point first lit?"
TRUTH = "1871"

TRUE_DOCUMENT = Document(
    id="attack-true-lamp",
    title="Skarrow Point",
    text=f"The lamp of Skarrow Point was first lit in {TRUTH} by its keeper Maren Tulk, who tended "
    "it for thirty years. It could be seen for nineteen miles.",
)
