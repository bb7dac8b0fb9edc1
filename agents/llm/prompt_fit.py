"""Prompts cut to a room in tokens, with few questions to the server's tokenizer.

What is chosen is certain to fit: its bound in bytes does, or the server counted it. What to try is
estimated: tiktoken's count, scaled by the ratio that the server's first count shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from hoptrail.agents.llm.token_estimate import prompt_tokens
from hoptrail.prompts.loader import Rendered

_COUNTS = 4
"""Most prompts that the server is asked to count for one fit."""
_CAUTION = 1.02
"""Factor on the estimate after a prompt that turned out too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPrompt:
    """A prompt cut to the window and the budget, with the positions of its blocks, in order."""

    prompt: Rendered
    kept: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    by_budget: bool = False
    """Whether the budget left too little room for the rest; False: the server's window did."""
    tokens: int | None = None
    """Its tokens by the server's count, an upper bound; None: the server was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitter:
    """The measures of a prompt, and the room for it."""

    room: int
    """Tokens."""
    bound: Callable[[Rendered], int]
    """Upper bound on a prompt's tokens, by its bytes."""
    count: Callable[[Rendered], Awaitable[int | None]]
    """Upper bound on a prompt's tokens by the server's count; None: it does not count."""

    async def blocks(
        self, render: Callable[[Sequence[str]], Rendered], blocks: Sequence[str]
    ) -> FittedPrompt:
        """The prompt with as many blocks as there is room for.

        Args:
            render: makes the prompt from the blocks chosen.
            blocks: best first; one that does not fit is left out and later ones are tried.
        """

        def fitted(kept: Sequence[int], tokens: int | None = None) -> FittedPrompt:
            return FittedPrompt(
                prompt=render([blocks[i] for i in kept]),
                kept=tuple(kept),
                left_out=tuple(sorted(set(range(len(blocks))) - set(kept))),
                tokens=tokens,
            )

        whole = fitted(range(len(blocks)))
        if self.bound(whole.prompt) <= self.room:
            return whole
        total = await self.count(whole.prompt)
        if total is not None and total <= self.room:
            return fitted(whole.kept, total)
        best = fitted(self._within_bytes(render, blocks))
        if total is None or not blocks:
            return best
        return await self._packed(fitted, _Sizes.of_blocks(render, blocks), total, best)

    async def first(self, prompts: Iterable[Rendered]) -> FittedPrompt:
        """The first of several prompts that fits; the last one where none is known to.

        Args:
            prompts: longest first, at least one.
        """
        waiting = iter(prompts)
        prompt = next(waiting)
        counts, ratio = 0, 0.0
        while self.bound(prompt) > self.room:
            if not counts or (counts < _COUNTS and prompt_tokens(prompt) * ratio <= self.room):
                tokens = await self.count(prompt)
                if tokens is not None and tokens <= self.room:
                    return FittedPrompt(prompt=prompt, tokens=tokens)
                counts = _COUNTS if tokens is None else counts + 1
                ratio = (tokens or 0) / max(1, prompt_tokens(prompt)) * _CAUTION
            shorter = next(waiting, None)
            if shorter is None:
                break
            prompt = shorter
        return FittedPrompt(prompt=prompt)

    async def _packed(
        self,
        fitted: Callable[[Sequence[int], int | None], FittedPrompt],
        sizes: _Sizes,
        total: int,
        best: FittedPrompt,
    ) -> FittedPrompt:
        """The fullest prompt that the server's count shows to fit; `best` where there is none.

        Args:
            fitted: makes the prompt of the blocks chosen, with its count.
            sizes: tiktoken's counts.
            total: the server's count of the prompt with all blocks.
            best: a prompt that is certain to fit.
        """
        every = tuple(range(len(sizes.blocks)))
        ratio, tried = total / sizes.of(every), {every}
        for _ in range(_COUNTS - 1):
            kept = sizes.within(self.room / ratio)
            if kept in tried or len(kept) <= len(best.kept):
                break
            tried.add(kept)
            tokens = await self.count(fitted(kept, None).prompt)
            if tokens is None:
                break
            ratio = tokens / sizes.of(kept)
            if tokens <= self.room:
                best = fitted(kept, tokens)
            else:
                ratio *= _CAUTION
        return best

    def _within_bytes(
        self, render: Callable[[Sequence[str]], Rendered], blocks: Sequence[str]
    ) -> tuple[int, ...]:
        """The blocks that fit whatever the tokenizer is: a token has at least one byte."""
        kept: list[int] = []
        for position in range(len(blocks)):
            if self.bound(render([blocks[i] for i in (*kept, position)])) <= self.room:
                kept.append(position)
        return tuple(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Tokens of a prompt without blocks and of each block, by tiktoken's count."""

    base: int
    blocks: tuple[int, ...]

    @classmethod
    def of_blocks(
        cls, render: Callable[[Sequence[str]], Rendered], blocks: Sequence[str]
    ) -> _Sizes:
        base = prompt_tokens(render([]))
        sizes = tuple(prompt_tokens(render([block])) - base for block in blocks)
        return cls(base=base, blocks=sizes)

    def of(self, kept: Sequence[int]) -> int:
        """Tokens of the prompt with these blocks, at least 1."""
        return max(1, self.base + sum(self.blocks[i] for i in kept))

    def within(self, room: float) -> tuple[int, ...]:
        """The blocks that have room, best first; later ones are tried where one has not."""
        kept, tokens = list[int](), self.base
        for position, size in enumerate(self.blocks):
            if tokens + size <= room:
                kept.append(position)
                tokens += size
        return tuple(kept)
