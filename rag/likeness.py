"""Names of a question that no passage has, linked with those that passages spell otherwise.

Looked for only in the passages that the question itself finds: there a slip of the pen or another
transcription ("Skarnoe" for "Skarnøe") is likelier than in a million names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.entities import named

_ALIKE = 0.75
"""Least share of letters in common, as difflib counts them."""
_SHORTLIST = 5
_MEANT = 0.5
"""Least cosine of the two names."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to their vectors, (len(texts), dimension), L2-normalised."""


def meant(unknown: Mapping[int, str], texts: Sequence[str], embed: Embed) -> dict[int, int]:
    """For each unknown name, by key: the key of the name in the texts that it most likely means.

    Letters choose who is compared, the embedder who is taken; names like nothing are left out.
    """
    known = {name.casefold(): key for text in texts for key, name in named(text).items()}
    linked = {}
    for key, name in unknown.items():
        shortlist = get_close_matches(name.casefold(), known, n=_SHORTLIST, cutoff=_ALIKE)
        if shortlist:
            vectors = embed([name.casefold(), *shortlist])
            cosines = vectors[1:] @ vectors[0]
            best = int(cosines.argmax())
            if cosines[best] >= _MEANT:
                linked[key] = known[shortlist[best]]
    return linked
