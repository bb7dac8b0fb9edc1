"""The records of what a run did: its steps, a model's part in them, scored slates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """The model usage of one role call: attempts, tokens, failure."""

    role: str
    prompt_hash: str
    model: str
    attempts: int
    re_asks: int
    prompt_tokens: int
    completion_tokens: int
    failure: str = ""
    """Why the role's fallback was used instead; empty where the model's reply was used."""
    problem: str = ""
    """The same in words: the last thing that was wrong with a reply or a request."""
    left_out: int = 0
    """Blocks of evidence that did not fit into the model's context."""
    without: tuple[str, ...] = ()
    """Fields of the request that the server refused and that were therefore left out. Without
    `cache_salt` the server's prefix cache is shared with other tenants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateRecord:
    """An inner node that a tree search opened: the slate of its children, and their scores."""

    node: int
    """The number of the node whose children were shown."""
    standing: float
    """0..1: the score of the node when it was chosen."""
    reserve: bool
    """Whether the node was chosen for its similarity to the question, not for its score."""
    leaves: bool
    """Whether the children are passages; else inner nodes, and so are the anchors."""
    shown: tuple[int, ...]
    """Children in order, then anchors: numbers of nodes, or of rows of the store."""
    anchors: int
    """How many of the last ones in `shown` were scored before and calibrate the scores."""
    scores: tuple[float | None, ...]
    """0..1, in the order of `shown`; None: not scored."""
    failed: bool
    """True: no child was scored."""
    uses: tuple[ModelUse, ...] = ()
    """The model usage of the slate; two entries where missing scores were asked for again."""


TREE_BUILT = "built a tree without a model"
"""The action of a step that found no tree, so built one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step of a run, for the receipt: the node, its action, and the ids that it found."""

    node: str
    action: str
    detail: str = ""
    found: tuple[str, ...] = ()
    """Ids: of passages for a search, of evidence for a refinement."""
    use: ModelUse | None = None
    slates: tuple[SlateRecord, ...] = ()
    """The slates of one iteration of a tree search."""
