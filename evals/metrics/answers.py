"""Measures of rankings and of short answers, each with the source of its formula.

Every measure is 0..1, higher is better. None means that nothing can be scored (no gold), which is
not zero: `average` leaves it out and counts what remains.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})


def normalize_answer(text: str) -> str:
    """SQuAD's order (evaluate-v1.1.py): lower case, ASCII punctuation, articles, white space."""
    text = _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION))
    return " ".join(text.split())


def exact_match(prediction: str, answers: Sequence[str]) -> float | None:
    """`em`: 1 when the normalised prediction equals a normalised gold answer."""
    return _best(lambda gold, said: float(gold == said), prediction, answers)


def f1(prediction: str, answers: Sequence[str]) -> float | None:
    """`f1`: harmonic mean of token precision and recall (SQuAD), the best over gold answers.

    HotpotQA's rule (hotpot_evaluate_v1.py): where either side is yes, no or noanswer and the two
    differ, it is 0. Where either side has no token left it is equality (evaluate-v2.0.py).
    """
    return _best(_token_f1, prediction, answers)


def contains(prediction: str, answers: Sequence[str]) -> float | None:
    """`contains`: 1 when a normalised gold answer is a substring of the normalised prediction.

    Containment accuracy, also called cover-EM. It rewards length: report it beside `em` and `f1`.
    """
    return _best(
        lambda gold, said: float(gold in said if gold else gold == said), prediction, answers
    )


def contains_in_texts(texts: Iterable[str], answers: Sequence[str]) -> float | None:
    """`contains` over several texts: 1 when a gold answer stands in one of them.

    None where every gold answer is yes or no: no text contains these in any sense that counts.
    """
    if {normalize_answer(answer) for answer in answers} <= _CLOSED_ANSWERS:
        return None
    return max((contains(text, answers) or 0.0 for text in texts), default=0.0)


def _best(
    score: Callable[[str, str], float], prediction: str, answers: Sequence[str]
) -> float | None:
    said = normalize_answer(prediction)
    return max((score(normalize_answer(answer), said) for answer in answers), default=None)


def _token_f1(gold: str, said: str) -> float:
    if gold == said:
        return 1.0
    if gold in _CLOSED_ANSWERS or said in _CLOSED_ANSWERS:
        return 0.0
    wanted, given = gold.split(), said.split()
    overlap = (Counter(wanted) & Counter(given)).total()
    return 2 * overlap / (len(wanted) + len(given)) if overlap else 0.0
