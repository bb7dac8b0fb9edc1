"""Text form of a receipt for the terminal: answer, numbered quotes, hops, cost, stop reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hoptrail.app.receipts import ABSTAINED, OWN_WORDS, STOPPED, cited_evidence
from hoptrail.app.text import heading, indented, one_line, plural, shortened, without_citations

if TYPE_CHECKING:
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.types import Binding, Claim, Computation, Evidence, StepRecord

_QUERY = 100
_SHORT = 60

_OUTCOMES = {
    "answered": "answered",
    "quotes": "quotes, unjudged",
    "partial": "partly answered",
    "unverified": "answered, but nothing was checked",
    "abstained": "no answer",
}

_REMEDIES = {
    "length": "; for thoughts give the role more thought_tokens, or a model that need not think",
    "too_slow": "; give each call more seconds (call_seconds in [ask]), or a faster server",
    "parse": "; a larger model, or a server that enforces JSON schemas, replies in form",
}
"""What a user can do, by the failure of a model's replies."""


def receipt_text(receipt: Receipt, *, verbose: bool = False) -> str:
    """The whole receipt for a terminal, without a line break at its end.

    `verbose`: each hop with its queries as they were searched, not only the names it followed, and
    the values found for what the question leaves open.
    """
    cited = cited_evidence(receipt)
    numbers = {item.id: number for number, item in enumerate(cited, 1)}
    parts = [
        "\n".join(map(one_line, lines))
        for lines in (
            _answer(receipt, numbers),
            _quotes(cited),
            _dropped(receipt),
            _values(receipt, numbers, verbose),
            (*_hops(receipt, verbose), *_tree_search(receipt.steps)),
            _ending(receipt),
        )
    ]
    return "\n\n".join(part for part in parts if part)


def model_problems(receipt: Receipt) -> Iterator[str]:
    """What was wrong with the model and its replies, each kind of fault said once, in words."""
    yield from (flag for flag in receipt.flags if flag.startswith("start: "))
    uses = [step.use for step in receipt.steps if step.use]
    uses += [use for step in receipt.steps for slate in step.slates for use in slate.uses]
    faults = Counter((use.failure, use.problem) for use in uses if use.failure and use.problem)
    shown: set[str] = set()
    for (failure, problem), _ in faults.most_common():
        if failure not in shown:
            shown.add(failure)
            roles = sorted({use.role for use in uses if use.failure == failure})
            count = sum(use.failure == failure for use in uses)
            yield (
                f"model: no use of {plural(count, 'reply', 'replies')} ({', '.join(roles)}): "
                f"{problem}{_REMEDIES.get(failure, '')}"
            )


def _answer(receipt: Receipt, numbers: dict[str, int]) -> Iterator[str]:
    if receipt.outcome.kind == "abstained":
        reason = receipt.outcome.reason
        yield f"No answer: {ABSTAINED[reason] if reason else STOPPED[receipt.stop]}."
        return
    if receipt.extractive:
        yield OWN_WORDS[receipt.outcome.reason == "nothing_verified"]
        return
    if receipt.answer:
        yield without_citations(receipt.answer)
    for claim in receipt.claims:
        marks = "".join(f"[{numbers[one]}]" for one in claim.evidence if one in numbers)
        if claim.text != receipt.answer:
            yield from indented(f"{without_citations(claim.text)} {marks}", "  ")
        else:
            yield f"  {marks}"
    if receipt.computation:
        yield from indented(_computed(receipt.computation), "  ")
    if how := _checked_by(receipt.claims):
        yield from indented(how, "  ")


def _computed(found: Computation) -> str:
    """A computation as people write it."""
    if found.operator == "count":
        return f"{found.result}: counted, {', '.join(found.operands)}"
    sign = " − " if found.operator == "difference" else " + "
    return f"{sign.join(found.operands)} = {found.result}"


def _checked_by(claims: Sequence[Claim]) -> str:
    """Who checked the claims: the rules, or a model as well."""
    counts = Counter[str](claim.checked_by for claim in claims)
    return "; ".join(
        f"{plural(counts[by], 'claim')} checked against the quotes by {how}"
        for by, how in (("both", "rules and the model"), ("code", "rules"))
        if counts[by]
    )


def _quotes(cited: list[Evidence]) -> Iterator[str]:
    for number, item in enumerate(cited, 1):
        title, via = heading(item.title or item.document_id), item.via
        by = f', by the name "{heading(via.name)}" in {heading(via.title)}' if via else ""
        yield f"[{number}] {title} ({item.document_id}, characters {item.start} to {item.end}{by})"
        yield from indented(item.quote)


def _dropped(receipt: Receipt) -> Iterator[str]:
    for claim in receipt.dropped:
        by = "by the model: " if claim.checked_by == "model" else ""
        yield from indented(
            f"Left out: {without_citations(shortened(claim.text, 200))} ({by}{claim.reason})", ""
        )
    if receipt.source_changed:
        changed = plural(len(receipt.source_changed), "quote")
        yield f"Left out: {changed} whose document changed during the run"


def _values(receipt: Receipt, numbers: dict[str, int], verbose: bool) -> Iterator[str]:
    """What the documents contradict each other on; if `verbose`, every value found."""
    titles = {item.id: f"({heading(item.title)})" for item in receipt.evidence}
    asked = _asked(receipt)

    def shown(one: Binding) -> str:
        marks = dict.fromkeys(
            f"[{numbers[e]}]" if e in numbers else titles.get(e, "") for e in one.evidence
        )
        return " ".join((shortened(one.value, _SHORT), *marks))

    for found in receipt.contradictions:
        values = " or ".join(map(shown, found.bindings))
        yield from indented(
            f"The documents differ on {asked.get(found.variable, found.variable)}: {values}", ""
        )
    for one in receipt.bindings if verbose else ():
        yield from indented(f"Found, {asked.get(one.variable, one.variable)}: {shown(one)}", "")


def _asked(receipt: Receipt) -> dict[str, str]:
    """What each variable stands for, such as `first master, Heron`."""
    from hoptrail.agents.roles.common import filled

    values = {one.variable: one.value for one in receipt.bindings}
    return {
        one.object: f"{one.relation}, {filled(one.subject, values, keep=True)}"
        for one in (receipt.plan.triples if receipt.plan else ())
    }


def _hops(receipt: Receipt, verbose: bool) -> Iterator[str]:
    """The searches round by round; a round is an unbroken row of searches."""
    rounds: list[list[StepRecord]] = []
    before = ""
    for step in receipt.steps:
        if step.node == "retrieve":
            if before != "retrieve":
                rounds.append([])
            rounds[-1].append(step)
        before = step.node
    for number, searches in enumerate(rounds, 1):
        head = f"Hop {number}: "
        shown = (_queries if verbose else _followed)(searches, receipt.question)
        yield from indented(head + shown, by="", hanging=" " * len(head))


def _queries(searches: list[StepRecord], _question: str) -> str:
    """The queries of a round as they were searched."""
    return " · ".join(
        "the question itself" if one.action == "question" else shortened(one.detail, _QUERY)
        for one in searches
    )


def _followed(searches: list[StepRecord], question: str) -> str:
    """A round in a few words: `the question itself`, `via Hestor Pell, Ottokar Lume`."""
    asked = {_bare(word) for word in question.split()}
    itself, names, queries = "", [], []
    for one in searches:
        words = shortened(one.detail, _QUERY).split()
        length = len(words)
        while len(words) > 1 and _bare(words[-1]) in asked:
            words.pop()  # the local player puts the rest of the question behind a name
        if one.action == "question":
            itself = "the question itself"
        elif one.action in ("subject", "bridge") or len(words) < length:
            names.append(" ".join(words))
        else:
            queries.append(f"“{shortened(one.detail, _SHORT)}”")
    return ", ".join(filter(None, (itself, "via " * bool(names) + ", ".join(names), *queries)))


def _bare(word: str) -> str:
    return word.strip("?!.,;:\"'()").casefold()


def _tree_search(steps: tuple[StepRecord, ...]) -> Iterator[str]:
    """Line on the tree search: nodes opened, iterations, leaves scored."""
    from hoptrail.agents.types import TREE_BUILT

    rounds = [step.slates for step in steps if step.slates]
    if not rounds:
        return
    slates = [slate for slates in rounds for slate in slates]
    opened = {slate.node for slate in slates}
    leaves = {
        row for one in slates if one.leaves for row in one.shown[: len(one.shown) - one.anchors]
    }
    built = any(step.action == TREE_BUILT for step in steps)
    yield (
        f"Tree: {plural(len(opened), 'node')} opened in {plural(len(rounds), 'iteration')}, "
        f"{plural(len(leaves), 'leaf', 'leaves')} looked at"
        + ("; there was none, so it was built first, without a model" if built else "")
    )


def _ending(receipt: Receipt) -> Iterator[str]:
    spent = receipt.usage
    cost = (
        plural(spent.calls, "model call"),
        plural(spent.tokens, "token"),
        plural(spent.searches, "search", "searches"),
        f"{spent.seconds:.1f} s",
    )
    yield f"Cost: {', '.join(cost)}"
    if receipt.fallbacks:
        times = plural(receipt.fallbacks, "time")
        yield f"The model's reply could not be used {times}; the local player stood in."
    if any("cache_salt" in step.use.without for step in receipt.steps if step.use):
        yield "The server refused cache_salt: its prompt cache is shared with other tenants."
    stopped = STOPPED[receipt.stop]
    if receipt.stop == "sufficient" and receipt.outcome.kind == "abstained":
        stopped = "it judged the evidence to be enough, though no answer came of it"
    yield f"Outcome: {_OUTCOMES[receipt.outcome.kind]}; it stopped because {stopped}"
