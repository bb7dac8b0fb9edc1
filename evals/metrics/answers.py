"""Answer metrics: exact match, token F1 and containment, each with the source of its formula.

Every metric is 0..1, higher is better. None means that there is no gold to score against.
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
    """Normalises an answer as SQuAD does (evaluate-v1.1.py).

    In this order: to lower case; ASCII punctuation out; articles out; white space to one space.
    """
    text = _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION))
    return " ".join(text.split())


def exact_match(prediction: str, answers: Sequence[str]) -> float | None:
    """Exact match (EM): 1 if the normalised prediction equals a normalised gold answer, else 0."""
    return _best(lambda gold, predicted: float(gold == predicted), prediction, answers)


def f1(prediction: str, answers: Sequence[str]) -> float | None:
    """Token F1: harmonic mean of token precision and recall (SQuAD), the best over gold answers.

    HotpotQA's rule (hotpot_evaluate_v1.py): where either side is yes, no or noanswer and the two
    differ, F1 is 0. Where either side has no token left, F1 is equality (evaluate-v2.0.py).
    """
    return _best(_token_f1, prediction, answers)


def contains(prediction: str, answers: Sequence[str]) -> float | None:
    """Containment accuracy (cover-EM): 1 if a gold answer is a substring of the prediction, else 0.

    Both are normalised. It rewards length: report it beside exact match and F1.
    """
    return _best(
        lambda gold, predicted: float(gold in predicted if gold else gold == predicted),
        prediction,
        answers,
    )


def contains_in_texts(texts: Iterable[str], answers: Sequence[str]) -> float | None:
    """Containment accuracy over several texts: 1 if a gold answer is a substring of one, else 0.

    None if every gold answer is yes or no: that a text has such a word proves nothing.
    """
    if {normalize_answer(answer) for answer in answers} <= _CLOSED_ANSWERS:
        return None
    return max((contains(text, answers) or 0.0 for text in texts), default=0.0)


def _best(
    score: Callable[[str, str], float], prediction: str, answers: Sequence[str]
) -> float | None:
    predicted = normalize_answer(prediction)
    return max((score(normalize_answer(answer), predicted) for answer in answers), default=None)


def _token_f1(gold: str, predicted: str) -> float:
    if gold == predicted:
        return 1.0
    if gold in _CLOSED_ANSWERS or predicted in _CLOSED_ANSWERS:
        return 0.0
    gold_tokens, predicted_tokens = gold.split(), predicted.split()
    overlap = (Counter(gold_tokens) & Counter(predicted_tokens)).total()
    return 2 * overlap / (len(gold_tokens) + len(predicted_tokens)) if overlap else 0.0
