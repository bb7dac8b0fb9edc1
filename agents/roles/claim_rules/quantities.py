"""Numbers of a text with sign, magnitude and unit, in digits or English words, and its dates."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

MONTHS = tuple(
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_SMALL = dict(
    zip(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
        fifteen sixteen seventeen eighteen nineteen""".split(),  # noqa: SIM905
        range(20),
        strict=True,
    )
)
_TENS = dict(
    zip(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(),  # noqa: SIM905
        range(20, 100, 10),
        strict=True,
    )
)
_MAGNITUDES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "millions": 10**6, "billion": 10**9,
    "bn": 10**9, "trillion": 10**12, "dozen": 12, "万": 10**4, "萬": 10**4, "만": 10**4,
    "亿": 10**8, "億": 10**8, "억": 10**8, "हज़ार": 10**3, "लाख": 10**5, "करोड़": 10**7,
    "ألف": 10**3, "مليون": 10**6, "ล้าน": 10**6, "тысяч": 10**3, "миллионов": 10**6,
}  # fmt: skip
NUMBER_WORDS = frozenset({*_SMALL, *_TENS, "hundred", "thousand", "million", "billion", "dozen"})

# Dimension and factor to its base unit. A month has no fixed number of days: a dimension apart.
_UNITS = {
    **dict.fromkeys(("metre", "meter", "m", "米"), ("length", "1")),
    **dict.fromkeys(("kilometre", "kilometer", "km", "公里"), ("length", "1000")),
    **dict.fromkeys(("centimetre", "centimeter", "cm"), ("length", "0.01")),
    **dict.fromkeys(("millimetre", "millimeter", "mm"), ("length", "0.001")),
    **dict.fromkeys(("mile", "mi"), ("length", "1609.344")),
    **dict.fromkeys(("foot", "feet", "ft"), ("length", "0.3048")),
    **dict.fromkeys(("inch", "inches"), ("length", "0.0254")),
    "yard": ("length", "0.9144"), "fathom": ("length", "1.8288"), "league": ("length", "4828.032"),
    "nautical mile": ("length", "1852"), "hectare": ("length2", "10000"),
    "acre": ("length2", "4046.8564224"), **dict.fromkeys(("litre", "liter"), ("length3", "0.001")),
    **dict.fromkeys(("gram", "g"), ("mass", "1")),
    **dict.fromkeys(("kilogram", "kg"), ("mass", "1000")),
    **dict.fromkeys(("ton", "tonne"), ("mass", "1000000")),
    "ounce": ("mass", "28.349523125"), "second": ("time", "1"), "minute": ("time", "60"),
    "hour": ("time", "3600"), "day": ("time", "86400"), "week": ("time", "604800"),
    "month": ("months", "1"), "year": ("months", "12"), "decade": ("months", "120"),
    **dict.fromkeys(("century", "centuries"), ("months", "1200")),
    **dict.fromkeys(("percent", "per cent", "%"), ("percent", "1")),
    **dict.fromkeys(("degree", "°"), ("degree", "1")), "knot": ("knot", "1"),
    **dict.fromkeys(("dollar", "$"), ("dollar", "1")),
    **dict.fromkeys(("euro", "€"), ("euro", "1")),
    **dict.fromkeys(("pound", "£"), ("pound", "1")), "crown": ("crown", "1"),
}  # fmt: skip
UNIT_WORDS = frozenset({*_UNITS, *(f"{unit}s" for unit in _UNITS), "square", "cubic"})

_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_WORDS = re.compile(r"[a-z]+")
_BEHIND = re.compile(
    r"[\s-]{0,2}(?P<power>square|cubic)?\s*(?P<unit>nautical mile|per cent|[^\W\d_]+|[%°€£$])"
)
_SIGN = re.compile(r"(?:(?:^|[\s(])[-−]|\bminus\s+)\Z")
_HEDGES = {
    "near": "about around roughly approximately circa ca some",
    "over": "over than least",
    "under": "nearly almost under below to",
}
_HEDGE_OF = {word: hedge for hedge, words in _HEDGES.items() for word in words.split()}
_TOLERANCE = Decimal("0.05")
_EXACT = Decimal("0.001")
_MOST_DIGITS = 30
_NAMED_DATE = re.compile(
    r"\b(?P<d1>\d{1,2})(?:st|nd|rd|th)?(?:\s+of)?\s+(?P<m1>[a-z]{3,9})\b"
    r"|\b(?P<m2>[a-z]{3,9})\.?\s+(?P<d2>\d{1,2})(?:st|nd|rd|th)?\b(?!,?\d)"
)
_ISO_DATE = re.compile(r"\b\d{4}-(\d{2})-(\d{2})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number as a text states it."""

    value: Decimal
    """With sign and magnitude: 1,204 million is 1204000000."""
    dimension: str
    """What its unit measures, such as `length` or `length2`; empty without a known unit."""
    factor: Decimal
    """How many base units its unit is."""
    text: str
    """Digits without thousands separators, or the words."""
    hedge: str
    """`near`, `over`, `under`: how loosely it is stated; empty: exactly."""

    @property
    def is_year(self) -> bool:
        """Whether it looks like a year: four digits from 1000 to 2199, without a unit."""
        return (
            not self.dimension
            and len(self.text) == 4
            and self.text.isdecimal()
            and 1000 <= self.value < 2200
        )

    def is_said_by(self, other: Quantity) -> bool:
        """Whether another text's number states this one: same amount, no other unit."""
        mine, theirs = self.value, other.value
        if self.dimension and other.dimension:
            if self.dimension != other.dimension:
                return False
            mine, theirs = mine * self.factor, theirs * other.factor
        gap = abs(mine - theirs)
        if gap <= _EXACT * abs(theirs) and (self.dimension or mine == theirs):
            return True
        if not self.hedge or self.is_year or gap > _TOLERANCE * abs(theirs):
            return False
        return not (
            (self.hedge == "over" and theirs < mine) or (self.hedge == "under" and theirs > mine)
        )


def folded(text: str) -> str:
    """The text in compatibility form and lower case; accents stay."""
    return unicodedata.normalize("NFKC", text).lower()


@lru_cache(maxsize=4096)
def quantities(text: str) -> tuple[Quantity, ...]:
    """The numbers of a text, in order; English number words count, but not "one" by itself."""
    low = folded(text)
    found = [*_in_digits(low), *_in_words(low)]
    return tuple(quantity for _, quantity in sorted(found, key=lambda pair: pair[0]))


def dates(text: str) -> frozenset[tuple[int, str]]:
    """Day and month of each date that a text states."""
    low = folded(text)
    found = set()
    for match in _NAMED_DATE.finditer(low):
        word, day = match["m1"] or match["m2"], int(match["d1"] or match["d2"])
        month = next((m for m in MONTHS if m == word or m[:3] == word or m[:4] == word), None)
        if month and 1 <= day <= 31:
            found.add((day, month))
    for iso in _ISO_DATE.finditer(low):
        if 1 <= int(iso[1]) <= 12:
            found.add((int(iso[2]), MONTHS[int(iso[1]) - 1]))
    return frozenset(found)


def plain(number: str) -> str:
    """A number without thousands separators: 1,204 as 1204, and 3.50 as it is."""
    return re.sub(r"[,.](?=\d{3}(?:\D|$))", "", number)


def _in_digits(low: str) -> Iterator[tuple[int, Quantity]]:
    for match in _DIGITS.finditer(low):
        shown = plain(match.group())
        try:
            value = Decimal(shown[:_MOST_DIGITS].replace(",", "."))
        except InvalidOperation:
            value = Decimal(re.sub(r"\D", "", shown)[:_MOST_DIGITS])
        yield match.start(), _quantity(low, match.start(), match.end(), value, shown)


def _in_words(low: str) -> Iterator[tuple[int, Quantity]]:
    words = list(_WORDS.finditer(low))
    place = 0
    while place < len(words):
        end, value = _read_words(low, words, place)
        first = words[place].start()
        after_digit = low[:first].rstrip(" ")[-1:].isdigit()
        if end > place and not after_digit and (value != 1 or end > place + 1):
            last = words[end - 1].end()
            yield first, _quantity(low, first, last, Decimal(value), low[first:last])
        place = max(end, place + 1)


def _read_words(low: str, words: Sequence[re.Match[str]], place: int) -> tuple[int, int]:
    """The number that begins at a word: index after its last word, and its value."""
    total = part = 0
    before, end = "", place
    for here in range(place, len(words)):
        word = words[here].group()
        if here > place and low[words[here - 1].end() : words[here].start()].strip(" -\n"):
            break
        if word == "and" and end == here > place:
            continue  # counts only where a further number word follows
        step = _read_word(word, part, before, joined=here > end)
        if step is None:
            break
        part, before = step
        if before == "times" and part >= 1000:
            total, part = total + part, 0
        end = here + 1
    return end, total + part


def _read_word(word: str, part: int, before: str, *, joined: bool) -> tuple[int, str] | None:
    """A number and the kind of its last word once a further word is read; None: it is none."""
    if word in _SMALL:
        follows_tens = before == "tens" and 0 < _SMALL[word] < 10 and not joined
        if before == "" or follows_tens or (before == "times" and _SMALL[word]):
            return part + _SMALL[word], "small"
    elif word in _TENS:
        if before in ("", "times") or (before == "small" and joined and part < 10):
            return part + _TENS[word], "tens"
    elif word in _MAGNITUDES and not joined:
        return max(part, 1) * _MAGNITUDES[word], "times"
    return None


def _quantity(low: str, start: int, end: int, value: Decimal, shown: str) -> Quantity:
    behind = _BEHIND.match(low, end)
    while behind and (times := _MAGNITUDES.get(behind["unit"])) and not behind["power"]:
        value, end = value * times, behind.end()
        behind = _BEHIND.match(low, end)
    if _SIGN.search(low, max(0, start - 8), start):
        value = -value
    dimension, factor = _unit(behind) if behind else ("", Decimal(1))
    if not dimension and low[start - 1 : start] in ("$", "€", "£"):
        dimension, factor = _UNITS[low[start - 1]][0], Decimal(1)
    before = re.findall(r"[a-z]+", low[max(0, start - 20) : start])
    hedge = _HEDGE_OF.get(before[-1], "") if before else ""
    if hedge == "under" and before[-1] == "to" and before[-2:-1] not in (["up"], ["close"]):
        hedge = ""
    return Quantity(value=value, dimension=dimension, factor=factor, text=shown, hedge=hedge)


def _unit(behind: re.Match[str]) -> tuple[str, Decimal]:
    word = behind["unit"]
    known = _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))
    if known is None:
        return "", Decimal(1)
    dimension, factor = known[0], Decimal(known[1])
    if dimension == "length" and behind["power"]:
        power = 2 if behind["power"] == "square" else 3
        return f"length{power}", factor**power
    return dimension, factor
