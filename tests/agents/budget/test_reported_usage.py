"""What a server reports of its tokens, as a run's receipt shows it."""

from __future__ import annotations

from support.agents import QUESTION, Reader, reading

from hoptrail.agents import Budget, KnowledgeBase, ask
from hoptrail.agents.budget.limits import ReportedUsage


def test_a_report_above_the_reservation_is_in_the_receipt_and_ends_the_run(
    library: KnowledgeBase,
) -> None:
    honest = ReportedUsage(prompt_tokens=25_000, completion_tokens=20)
    model = reading(Reader(), usage=lambda _: honest)
    receipt = ask(QUESTION, library, model=model, budget=Budget(tokens=30_000))
    assert receipt.usage.prompt_tokens == 25_000 * receipt.usage.calls
    assert receipt.usage.calls == 2, "the second is above the budget, and nothing is asked after it"
    assert receipt.stop == "out_of_tokens"
    assert all("is above the" in flag for flag in receipt.flags)


def test_zero_tokens_for_all_that_was_said_are_no_report(library: KnowledgeBase) -> None:
    nothing = ReportedUsage(prompt_tokens=0, completion_tokens=0)
    receipt = ask(QUESTION, library, model=reading(Reader(), usage=lambda _: nothing))
    without = ask(QUESTION, library, model=reading(Reader(), usage=lambda _: None))
    assert receipt.usage.tokens == without.usage.tokens > 0
    assert all("prompt_tokens 0 for a text that is not empty" in flag for flag in receipt.flags)
    assert len({flag.split(":")[0] for flag in receipt.flags}) == len(receipt.flags)
