"""The nodes of the graph: each takes the state and the run, and returns the next state.

A node asks a role, writes down what happened, and never decides where to go next: that is the
graph's. Whatever goes wrong outside (budget, deadline, server) becomes a stop reason in the state,
so that the best answer so far still comes out with its receipt.
"""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents import pool
from hoptrail.agents.budget.ledger import OutOfBudget, Reservation, Share
from hoptrail.agents.budget.limits import together
from hoptrail.agents.context import Run
from hoptrail.agents.events import (
    ClaimVerified,
    EvidenceAdded,
    HitsFound,
    PlanMade,
    QueryMade,
    StepStarted,
)
from hoptrail.agents.receipt import Receipt, outcome_of
from hoptrail.agents.roles import Played, Quote, Reading, Situation
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.state import State
from hoptrail.agents.types import Answer, Evidence, Plan, Query, StepRecord, StopReason
from hoptrail.agents.verify import verify as verify_answer
from hoptrail.rag.types import Passage, Ranking


async def plan(state: State, run: Run) -> State:
    """Question → what must be known, and the first queries."""
    run.emit(StepStarted(node="plan", round=0))
    played = await run.roles.planner.plan(state.question)
    run.emit(PlanMade(plan=played.value))
    subjects = dict.fromkeys(need.subject for need in played.value.needs if need.subject)
    if run.settings.mode == "graph":  # which looks them up by itself
        subjects = {}
    named = (
        Query(text=s, purpose="subject", mode="lexical", weight=pool.SUBJECT) for s in subjects
    )
    needs = "; ".join(need.text for need in played.value.needs)
    planned = replace(
        state,
        plan=played.value,
        queries=(_whole_question(state, run), *named)[: run.settings.max_queries],
    )
    return _noted(planned, "plan", "listed what must be known", needs, played)


async def retrieve(state: State, run: Run) -> State:
    """Queries → candidates; what the search budget does not allow is left unasked."""
    number = state.round + 1
    run.emit(StepStarted(node="retrieve", round=number))
    queries = tuple(q for q in state.queries if q.text.strip()) or (_whole_question(state, run),)
    # What is left is divided and reserved before any is dispatched: what it lacks is the last.
    reserved = [_reserve_search(run, share) for share in run.ledger.divide(len(queries))]
    results = await together(
        _search(state, run, query, reservation)
        for query, reservation in zip(queries, reserved, strict=True)
    )
    found = [(q, r) for q, r in zip(queries, results, strict=True) if isinstance(r, Ranking)]
    state = replace(
        state,
        round=number,
        queries=(),
        asked=(*state.asked, *(query.text for query, _ in found)),
        candidates=pool.merge(state.candidates, found, number),
    )
    for query, ranking in found:
        ids = tuple(hit.passage.id for hit in ranking.hits)
        state = state.step(
            StepRecord(node="retrieve", action=query.purpose, detail=query.text, found=ids)
        )
    return state.stopped(next((r for r in results if isinstance(r, str)), None))


async def refine(state: State, run: Run) -> State:
    """New passages → exact quotes in the evidence pool; what bears on nothing is dropped."""
    run.emit(StepStarted(node="refine", round=state.round))
    chosen = [c for c in state.candidates if c.passage_id not in state.read][: run.settings.read]
    texts = await run.corpus.passages([c.passage_id for c in chosen])
    readings = [
        Reading(passage=passage, score=candidate.score, query=candidate.query, via=candidate.via)
        for candidate, passage in zip(chosen, texts, strict=True)
        if passage is not None
    ]
    played = await run.roles.refiner.refine(situation(state), readings)
    sources = {reading.passage.id: reading for reading in readings}
    fresh = (
        _evidence(quote, sources[quote.passage_id], state.round)
        for quote in played.value
        if quote.passage_id in sources
    )
    before = {item.id for item in state.evidence}
    standing = pool.restand(state.evidence, state.candidates)
    evidence = pool.add(standing, (item for item in fresh if item is not None))
    added = [item for item in evidence if item.id not in before]
    for item in added:
        run.emit(EvidenceAdded(evidence=item))
    state = replace(
        state,
        evidence=evidence,
        read=(*state.read, *(c.passage_id for c in chosen)),
        barren=0 if added else state.barren + 1,
    )
    detail = f"read {len(readings)} passages, kept {len(added)} quotes"
    return _noted(state, "refine", "read", detail, played, tuple(item.id for item in added))


async def assess(state: State, run: Run) -> State:
    """Pool → enough, or what is missing; also the rules that end a search without a judge."""
    run.emit(StepStarted(node="assess", round=state.round))
    played = await run.roles.assessor.assess(situation(state))
    state = replace(state, assessment=played.value)
    detail = "enough" if played.value.sufficient else "missing: " + "; ".join(played.value.missing)
    state = _noted(state, "assess", "judged the evidence", detail, played)
    if played.value.sufficient:
        return state.stopped("sufficient")
    if state.barren >= 2:
        return state.stopped("no_progress")
    return state.stopped("max_rounds") if state.round >= run.settings.max_rounds else state


async def next_query(state: State, run: Run) -> State:
    """What is missing → queries that were not asked before; none left ends the search."""
    run.emit(StepStarted(node="next_query", round=state.round))
    played = await run.roles.query_writer.next_queries(situation(state))
    asked = list(state.asked)
    queries: list[Query] = []
    for query in played.value:
        if len(queries) < run.settings.max_queries and not pool.too_alike(query.text, asked):
            queries.append(_searched(query, run))
            asked.append(query.text)
    state = replace(state, queries=tuple(queries))
    detail = "; ".join(query.text for query in queries)
    state = _noted(state, "next_query", "wrote queries", detail, played)
    return state if queries else state.stopped("no_progress")


async def answer(state: State, run: Run) -> State:
    """Pool → claims with evidence ids; the only node whose text reaches a user."""
    run.emit(StepStarted(node="answer", round=state.round))
    if not state.evidence:
        silent = Answer(text="", claims=(), extractive=True, abstains=True)
        return replace(state, answer=silent).step(
            StepRecord(node="answer", action="abstained", detail="no evidence")
        )
    played = await run.roles.answerer.answer(situation(state), run.emit)
    state = replace(state, answer=played.value)
    action = "abstained" if played.value.abstains else "answered"
    cited = tuple(dict.fromkeys(e for claim in played.value.claims for e in claim.evidence))
    return _noted(state, "answer", action, played.value.text[:200], played, cited)


async def verify(state: State, run: Run) -> State:
    """Each claim against its quotes; what does not hold is out, with the reason."""
    run.emit(StepStarted(node="verify", round=state.round))
    assert state.answer is not None, "verify follows answer"
    verified = verify_answer(state.answer, state.evidence)
    for claim in verified.claims:
        run.emit(ClaimVerified(claim=claim))
    dropped = [claim for claim in verified.claims if claim.verdict == "dropped"]
    detail = f"{len(verified.claims) - len(dropped)} hold, {len(dropped)} dropped"
    record = StepRecord(node="verify", action="checked claims", detail=detail)
    return replace(state, answer=verified).step(record)


async def receipt(state: State, run: Run) -> State:
    """Every quote against the stored document once more, then all of the above as a receipt."""
    run.emit(StepStarted(node="receipt", round=state.round))
    slices = await together(run.corpus.slice(e.document_id, e.start, e.end) for e in state.evidence)
    pairs = list(zip(state.evidence, slices, strict=True))
    standing = tuple(item for item, text in pairs if text == item.quote)
    changed = tuple(item.id for item, text in pairs if text != item.quote)
    answer = state.answer
    if changed and answer is not None:
        answer = verify_answer(answer, standing)
    stop: StopReason = state.stop if state.stop is not None else "sufficient"
    claims = answer.claims if answer is not None else ()
    made = Receipt(
        question=state.question,
        strategy=run.strategy,
        model=run.model,
        answer=answer.text if answer is not None else "",
        extractive=answer is None or answer.extractive,
        outcome=outcome_of(answer, stop, len(standing), len(changed)),
        stop=stop,
        claims=tuple(claim for claim in claims if claim.verdict == "holds"),
        dropped=tuple(claim for claim in claims if claim.verdict == "dropped"),
        evidence=standing,
        source_changed=changed,
        candidates=state.candidates,
        plan=state.plan,
        steps=state.steps,
        rounds=state.round,
        fallbacks=sum(bool(step.use and step.use.failure) for step in state.steps),
        flags=tuple(f"{flag.node}: {flag.reason}" for flag in run.ledger.flags),
        budget=run.ledger.budget,
        usage=run.ledger.spent(),
        generation=state.generation,
    )
    return replace(state, stop=stop, answer=answer, receipt=made.json())


def situation(state: State) -> Situation:
    """The state as roles see it."""
    return Situation(
        question=state.question,
        plan=state.plan if state.plan is not None else Plan(needs=(), asks="thing"),
        pool=state.evidence,
        asked=state.asked,
        assessment=state.assessment,
    )


def _whole_question(state: State, run: Run) -> Query:
    return _searched(Query(text=state.question, purpose="question"), run)


def _searched(query: Query, run: Run) -> Query:
    """A query in the run's mode, unless it looks up a name."""
    if query.purpose in ("subject", "bridge") or run.settings.mode is None:
        return query
    return replace(query, mode=run.settings.mode)


def _reserve_search(run: Run, share: Share) -> Reservation | StopReason:
    try:
        return run.ledger.reserve_search(node="retrieve", share=share)
    except OutOfBudget as error:
        return error.stop


async def _search(
    state: State, run: Run, query: Query, reservation: Reservation | StopReason
) -> Ranking | StopReason:
    """One search that was reserved; a stop reason where it was not allowed."""
    if not isinstance(reservation, Reservation):
        return reservation
    run.emit(QueryMade(query=query))
    try:
        ranking = await run.corpus.search(
            query.text,
            k=run.settings.k,
            mode=query.mode,
            where=dict(state.where),
            timeout=run.ledger.seconds_left(),
        )
    except TimeoutError:
        return "out_of_time"
    except Cancelled:
        return "cancelled"
    finally:
        run.ledger.settle_search(reservation)
    titles = tuple(hit.passage.title for hit in ranking.hits[:5])
    run.emit(HitsFound(query=query, count=len(ranking.hits), titles=titles))
    return ranking


def _evidence(quote: Quote, reading: Reading, number: int) -> Evidence | None:
    """A quote as evidence; None where its offsets do not lie in the passage it names."""
    passage: Passage = reading.passage
    if not passage.start <= quote.start < quote.end <= passage.end:
        return None
    text = passage.text[quote.start - passage.start : quote.end - passage.start]
    if not text.strip():
        return None
    return Evidence(
        id="",
        document_id=passage.document_id,
        passage_id=passage.id,
        title=passage.title,
        start=quote.start,
        end=quote.end,
        quote=text,
        confidence=quote.confidence,
        score=round(quote.confidence * reading.score, 6),
        round=number,
        query=reading.query,
        via=reading.via,
    )


def _noted(
    state: State,
    node: str,
    action: str,
    detail: str,
    played: Played[object],
    found: tuple[str, ...] = (),
) -> State:
    """The state with the step a role played, and its stop if that ended the budget."""
    record = StepRecord(node=node, action=action, detail=detail, found=found, use=played.use)
    return state.step(record).stopped(played.stop)
