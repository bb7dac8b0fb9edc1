"""Which nodes go on where leaves were grouped anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence


def heirs(
    nodes: Mapping[int, Collection[int]], groups: Sequence[Collection[int]]
) -> list[int | None]:
    """The node that each group goes on with, so that what was said of it stays nearly right.

    Args:
        nodes: the leaves of each that there was, by number.
        groups: the same leaves, grouped otherwise; none is empty.

    Returns:
        For each group the node whose leaves are more than half of the group and are more than half
        in it, so no node comes twice; None: there is none.
    """
    homes = {row: number for number, rows in nodes.items() for row in rows}
    found: list[int | None] = []
    for group in groups:
        (number, shared), *_ = Counter(homes[row] for row in group).most_common(1)
        found.append(number if 2 * shared > max(len(group), len(nodes[number])) else None)
    return found
