"""Trees from the root down: what is asked, what is made of poor replies, and what always holds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import DIMENSION, TOPICS, SomeLeaves, bunched, sound

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.builders.requests import (
    DescriptorsRequest,
    Reply,
    Request,
    SummaryRequest,
    Topic,
    TopicsRequest,
    next_requests,
)
from hoptrail.rag.tree.builders.top_down import top_down
from hoptrail.rag.tree.builders.topics import Grouping, grouping, listing
from hoptrail.rag.tree.types import ROOT, Node, Tree, TreeSpec
from hoptrail.rag.types import Vectors

Answer = Callable[[Request], Reply]


def spec(fanout: int = 4, model: str = "") -> TreeSpec:
    return TreeSpec(
        method="top-down", fanout=fanout, model=model, embedder="test", dimension=DIMENSION
    )


def grown(
    leaves: SomeLeaves, how: TreeSpec, answer: Answer = lambda ask: None
) -> tuple[Tree, list[tuple[Request, ...]]]:
    """The tree, and what was asked, step by step."""
    builder, asked = top_down(leaves, how), []
    replies: tuple[Reply, ...] | None = None
    while True:
        came = next_requests(builder, replies)
        if isinstance(came, Tree):
            return came, asked
        asks = came
        assert asks, "nothing is asked, but a reply waited for"
        asked.append(asks)
        replies = tuple(answer(ask) for ask in asks)


def topic_of(text: str) -> int:
    return next(at for at, words in enumerate(TOPICS) if words[0] in text)


class Reader:
    """A model that knows the topics; the records' numbers are its finer descriptors."""

    def __call__(self, ask: Request) -> Reply:
        match ask:
            case SummaryRequest():
                return "Sums up " + " ".join(ask.texts)[:60]
            case DescriptorsRequest():
                return self.describe(ask.text)
            case TopicsRequest():
                return self.group(ask)

    def describe(self, text: str) -> Reply:
        subject = TOPICS[topic_of(text)][0]
        whole = " ".join(text.split())
        return ("record", subject, f"{subject} record", f"a {subject} record told", whole)

    def group(self, ask: TopicsRequest) -> tuple[Topic, ...]:
        if ask.known:
            return tuple(
                Topic(
                    name=known.name,
                    description=known.description,
                    descriptors=tuple(
                        one for one, _ in ask.descriptors if known.name in self.name(one)
                    ),
                )
                for known in ask.known
            )
        found: dict[str, list[str]] = {}
        for one, _ in ask.descriptors:
            found.setdefault(self.name(one), []).append(one)
        return tuple(
            Topic(name=name, description=f"all about the {name}", descriptors=tuple(some))
            for name, some in found.items()
        )

    def name(self, descriptor: str) -> str:
        return TOPICS[topic_of(descriptor)][0]


def below(tree: Tree, node: Node) -> list[int]:
    return [row for one in tree.walk(node.number) for row in one.rows]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 90), fanout=st.integers(3, 14), seed=st.integers(0, 5))
def test_a_tree_without_a_model_is_sound_and_always_the_same(
    count: int, fanout: int, seed: int
) -> None:
    leaves = bunched(count, seed=seed, first=7)
    tree, asked = grown(leaves, spec(fanout))
    assert asked == []
    assert sound(tree, leaves)
    again, _ = grown(leaves, spec(fanout))
    assert again.nodes == tree.nodes


def test_leaves_of_one_topic_stand_together() -> None:
    leaves = bunched(240, topics=8)
    tree, _ = grown(leaves, spec(8))
    subjects = [{row % 8 for row in node.rows} for node in tree.nodes.values() if node.rows]
    assert sum(len(one) == 1 for one in subjects) >= 0.9 * len(subjects)


def test_equal_vectors_are_parted_too() -> None:
    leaves = bunched(200, topics=1, spread=0.0)
    tree, _ = grown(leaves, spec(3))
    assert sound(tree, leaves)
    for node in tree.nodes.values():
        # Halved by numbers: a part has a third at least, so the largest of two has two thirds.
        most = max((tree.nodes[child].count for child in node.children), default=0)
        assert most <= math.ceil(node.count * 2 / 3)


def test_a_tree_is_never_deeper_than_it_may_be() -> None:
    """Every leaf twice as far out as the one before: halving cuts off few at a time."""
    leaves = bunched(250, spread=3.0, seed=3)
    tree, _ = grown(leaves, spec(2))
    assert sound(tree, leaves)
    with pytest.raises(SettingsError, match="give a larger fan-out"):
        grown(bunched(257), spec(2))


def test_a_sample_divides_what_is_too_much_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoptrail.rag.tree.builders.top_down.RESIDENT", 100)
    monkeypatch.setattr("hoptrail.rag.tree.builders.top_down.SAMPLE", 50)
    monkeypatch.setattr("hoptrail.rag.tree.builders.top_down.BLOCK", 64)
    leaves, taken, vectors = bunched(300), [], SomeLeaves.vectors

    def counted(self: SomeLeaves, rows: Sequence[int]) -> Vectors:
        taken.append(len(rows))
        return vectors(self, rows)

    monkeypatch.setattr(SomeLeaves, "vectors", counted)
    tree, _ = grown(leaves, spec(8))
    assert sound(tree, leaves)
    # The root: a sample, then every leaf to the nearest of its means, block by block.
    assert taken[:6] == [50, 64, 64, 64, 64, 44]


def test_a_model_names_the_branches() -> None:
    leaves = bunched(48, topics=8)
    tree, asked = grown(leaves, spec(7, model="m"), Reader())
    assert sound(tree, leaves)
    assert [type(ask) for ask in asked[0]] == [DescriptorsRequest] * 48
    (first,) = asked[1]
    assert isinstance(first, TopicsRequest)
    # Eight descriptors of two words tell more apart than one word for all, or seven do.
    assert (len(first.descriptors), first.most, first.known) == (8, 7, ())
    assert dict(first.descriptors)["harbour"] == 6
    # Eight topics are one more than a node may have: the last one's leaves go where they are near.
    top = [tree.nodes[number] for number in tree.nodes[ROOT].children]
    assert len(top) == 7
    for node in top:
        at = topic_of(node.text)
        assert node.text == f"{TOPICS[at][0]}: all about the {TOPICS[at][0]}"
        assert {row for row in range(48) if row % 8 == at} <= set(below(tree, node))


def test_few_leaves_hang_from_the_root_and_nobody_is_asked() -> None:
    tree, asked = grown(bunched(4), spec(4, model="m"), Reader())
    assert (asked, tree.nodes[ROOT].rows, len(tree.nodes)) == ([], (0, 1, 2, 3), 1)


def test_where_no_descriptor_helps_leaves_are_parted_by_likeness_and_summed_up() -> None:
    def dull(ask: Request) -> Reply:
        return (
            ("a", "b c", "d e f", "g", "h")
            if isinstance(ask, DescriptorsRequest)
            else Reader()(ask)
        )

    leaves = bunched(30)
    tree, asked = grown(leaves, spec(8, model="m"), dull)
    assert sound(tree, leaves)
    kinds = {type(ask) for asks in asked[1:] for ask in asks}
    assert kinds == {SummaryRequest}
    assert all(node.text.startswith("Sums up") for node in tree.walk() if node.number != ROOT)
    for asks in asked[1:]:
        assert all(1 <= len(ask.texts) <= 8 for ask in asks if isinstance(ask, SummaryRequest))


def test_one_topic_for_nearly_all_is_no_progress() -> None:
    class Lazy(Reader):
        def group(self, ask: TopicsRequest) -> tuple[Topic, ...]:
            names = [one for one, _ in ask.descriptors]
            return (
                Topic(name="all", description="everything", descriptors=tuple(names[1:])),
                Topic(name="one", description="the rest", descriptors=tuple(names[:1])),
            )

    leaves = bunched(120, topics=8)

    class Fine(Lazy):
        def describe(self, text: str) -> Reply:
            number = text.split()[1]
            return ("record", number, f"{number} x", f"{number} x x", f"{number} x x x")

    tree, asked = grown(leaves, spec(6, model="m"), Fine())
    assert sound(tree, leaves)
    assert not any(node.text.startswith("all") for node in tree.nodes.values())
    assert any(isinstance(ask, SummaryRequest) for asks in asked for ask in asks)


def test_what_the_model_left_out_is_asked_about_once_more() -> None:
    class Hasty(Reader):
        def group(self, ask: TopicsRequest) -> tuple[Topic, ...]:
            groups = super().group(ask)
            if ask.known:
                return groups
            return tuple(
                Topic(
                    name=one.name,
                    description=one.description,
                    descriptors=one.descriptors[: len(one.descriptors) // 2],
                )
                for one in groups
            )

        def describe(self, text: str) -> Reply:
            subject, number = TOPICS[topic_of(text)][0], text.split()[1]
            return ("record", f"{subject} {number}", *(f"{subject} {number} {x}" for x in "abc"))

    leaves = bunched(64, topics=4)
    tree, asked = grown(leaves, spec(4, model="m"), Hasty())
    assert sound(tree, leaves)
    again = next(asks for asks in asked if isinstance(asks[0], TopicsRequest) and asks[0].known)
    (ask,) = again
    assert isinstance(ask, TopicsRequest)
    assert len(ask.descriptors) == 32
    assert [len(one.descriptors) for one in ask.known] == [3] * 4
    for number in tree.nodes[ROOT].children:
        assert len({row % 4 for row in below(tree, tree.nodes[number])}) == 1


class Babbler:
    """A model that says anything that the types allow."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, ask: Request) -> Reply:
        if self._random.random() < 0.2:
            return None
        match ask:
            case DescriptorsRequest():
                return tuple(self.word() for _ in range(self._random.choice([0, 4, 5, 5, 5, 5, 6])))
            case SummaryRequest():
                return self.word()
            case TopicsRequest():
                copied = [one for one, _ in ask.descriptors]
                return tuple(self.topic(copied) for _ in range(self._random.randrange(10)))

    def topic(self, copied: list[str]) -> Topic:
        some = self._random.sample(copied, self._random.randrange(len(copied) + 1))
        return Topic(name=self.word(), description=self.word(), descriptors=(*some, self.word()))

    def word(self) -> str:
        return "".join(self._random.choices("ab .:", k=self._random.randrange(4)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(5, 60), fanout=st.integers(3, 7))
def test_whatever_a_model_replies_the_tree_is_sound(seed: int, count: int, fanout: int) -> None:
    leaves = bunched(count)
    tree, _ = grown(leaves, spec(fanout, model="m"), Babbler(seed))
    assert sound(tree, leaves)


def five(*general: str) -> list[tuple[str, ...]]:
    """One document for each: the general descriptor, then finer ones."""
    return [(one, f"{one} {at}", f"{at}", f"x {at}", f"y {at}") for at, one in enumerate(general)]


def test_the_most_general_level_that_tells_enough_apart_is_listed() -> None:
    found = listing(five("Art", "art.", "ART", "Law", "law"), 2)
    assert found is not None
    assert list(found.shown.values()) == ["Art 0", "art. 1", "ART 2", "Law 3", "law 4"]
    found = listing(five("Art", "art.", "Law", "sea"), 2)
    assert found is not None
    assert found.places == {"art": [0, 1], "law": [2], "sea": [3]}
    assert listing([("a", "a", "a", "a", "a")] * 9, 2) is None
    assert listing([(), (), ()], 2) is None


def test_a_level_that_one_question_cannot_list_gives_way_to_a_more_general_one() -> None:
    described = [("ab"[at % 2], *([f"thing {at}"] * 4)) for at in range(900)]
    few = listing(described, 4)
    assert few is not None
    assert list(few.places) == ["a", "b"]
    many = listing([("a", *([f"thing {at}"] * 4)) for at in range(900)], 4)
    assert many is not None
    assert [len(page) for page in many.pages(many.places)] == [300, 300, 300]


def grouped(topics: Sequence[Topic], most: int = 4) -> Grouping:
    found = listing(five("a", "a", "b", "c", "d", "d", "d", "e"), 4)
    assert found is not None
    return grouping(found, topics, most)


def topic(name: str, *descriptors: str) -> Topic:
    return Topic(name=name, description=f"of {name}", descriptors=descriptors)


def test_what_is_named_twice_stays_where_it_was_first() -> None:
    made = grouped([topic("one", "a", "B."), topic("two", "b", "c", "unknown"), topic("ONE", "e")])
    assert made.homes == {"a": 0, "b": 0, "e": 0, "c": 1}
    assert [one.name for one in made.topics] == ["one", "two"]


def test_the_largest_topics_are_kept_and_empty_ones_are_none() -> None:
    made = grouped([topic("x"), topic("y", "b"), topic("z", "a"), topic("w", "d")], most=2)
    assert [one.name for one in made.topics] == ["z", "w"]
    assert made.homes == {"a": 0, "d": 1}


def test_what_has_no_topic_goes_where_it_is_nearest() -> None:
    vectors = np.eye(8, 3, dtype=np.float32)
    vectors[[1, 2, 3], :] = [[1, 0, 0]] * 3
    vectors[[4, 5, 6, 7], :] = [[0, 1, 0]] * 4
    made = grouped([topic("left", "a"), topic("right", "d"), topic("lone", "c")])
    found = {one.name: places.tolist() for one, places in made.parts(vectors)}
    # b (2) and e (7) were left out; c (3) would have been alone.
    assert found == {"left": [0, 1, 2, 3], "right": [4, 5, 6, 7]}
    (ask,) = made.asks()
    assert ask.descriptors == (("b", 1), ("e", 1))
