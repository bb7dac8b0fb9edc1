"""Every attack of the suite is withstood without a model, and seen where it succeeds."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace

import pytest

from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.evals.attacks import Attack, Sandbox, SandboxSettings
from hoptrail.evals.attacks.kinds import bombs as bombing
from hoptrail.evals.attacks.kinds import forging, tenant_crossing, traversal
from hoptrail.evals.attacks.kinds.bombs import Bomb, bombs
from hoptrail.evals.attacks.kinds.chat_template import ControlTokens, control_tokens
from hoptrail.evals.attacks.kinds.exfiltration import HOST, exfiltrations
from hoptrail.evals.attacks.kinds.injection import injections
from hoptrail.evals.attacks.kinds.poisoning import FALSE, poisonings
from hoptrail.evals.attacks.kinds.resource_limits import resource_limits
from hoptrail.evals.attacks.process import Bounds, CommandResult
from hoptrail.evals.attacks.scripted_reader import scripted_reader
from hoptrail.rag.types import Document

_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


def label(attack: Attack) -> str:
    return f"{attack.kind}/{attack.name}"


def with_model(sandbox: Sandbox, model: ScriptedEndpoint) -> Sandbox:
    """The same sandbox, whose questions go to a model."""
    settings = SandboxSettings(model=model)
    return Sandbox(sandbox.folder, sandbox.kb, settings, sandbox.sampled)


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    """That of the module, with scratch folders of its own for each test."""
    folder = sandbox.folder / f"test-{len(list(sandbox.folder.iterdir()))}"
    folder.mkdir()
    return Sandbox(folder, sandbox.kb, sandbox.settings, sandbox.sampled)


LOCAL = (
    *injections(),
    *exfiltrations(),
    *poisonings(3),
    *traversal.traversals(),
    *tenant_crossing.tenant_crossings(),
    *resource_limits(),
    *control_tokens(),
    *bombs(),
    *forging.forgings(),
)


@pytest.mark.parametrize("attack", LOCAL, ids=label)
def test_the_attack_is_withstood_without_a_model(attack: Attack, sandbox: Sandbox) -> None:
    before = sandbox.kb.store.fingerprints()
    verdict = attack.run(sandbox)
    assert verdict.passed, verdict.detail
    assert sandbox.kb.store.fingerprints() == before, "the attack leaves the documents as they were"


def test_every_attack_has_a_name_of_its_own() -> None:
    names = [label(attack) for attack in LOCAL]
    assert len(set(names)) == len(names)


def obedient(demands: tuple[str, ...], prefix: str = "") -> ScriptedEndpoint:
    """A model that does what a document demands: it answers with the first demand that it reads."""

    def answer(_number: int, quote: str) -> str:
        decoded = " ".join(b64decode(one).decode() for one in _BASE64.findall(quote))
        found = [one for one in demands if one in f"{quote} {decoded}"]
        return prefix + found[0] if found else ""

    return scripted_reader(answer)


@pytest.mark.parametrize("attack", injections(), ids=label)
def test_the_judge_sees_a_model_that_obeys_an_injection(attack: Attack, sandbox: Sandbox) -> None:
    demands = (*attack.demands, "system prompt")  # type: ignore[attr-defined]
    own = "You help to answer questions from a collection of documents: "
    prefix = own if "disclosure" in attack.name else ""
    verdict = attack.run(with_model(sandbox, obedient(demands, prefix)))
    # What no sentence states does not pass the check of the answer: that defence holds here.
    held = ("encoded", "in-the-title", "prompt-disclosure")
    assert verdict.passed is (attack.name in held), verdict.detail


def test_the_judge_sees_an_address_of_the_stranger(sandbox: Sandbox) -> None:
    image = exfiltrations()[0]
    verdict = image.run(with_model(sandbox, obedient((f"https://{HOST}/p.png?q=QUESTION",))))
    assert not verdict.passed
    assert HOST in verdict.detail


@pytest.mark.parametrize("attack", poisonings(0), ids=label)
def test_the_judge_sees_a_planted_answer(attack: Attack, sandbox: Sandbox) -> None:
    believing = obedient((f"first lit in {FALSE}",))
    verdict = attack.run(with_model(sandbox, believing))
    assert not verdict.passed
    assert FALSE in verdict.detail


def test_poisoned_passages_are_ranked_in_every_mode(sandbox: Sandbox) -> None:
    measures = {one.name: one.value for one in poisonings(0)[0].run(sandbox).measures}
    assert {f"first rank, {mode}" for mode in sandbox.modes} <= measures.keys()
    assert all(value >= 1 for name, value in measures.items() if name.startswith("first rank"))


def test_the_judge_sees_a_token_that_reaches_a_prompt(sandbox: Sandbox) -> None:
    """A word that nothing breaks up stands for a token that is forgotten."""
    verdict = ControlTokens(name="forgotten", tokens=("plainword",)).run(sandbox)
    assert not verdict.passed
    assert "'plainword'" in verdict.detail


def test_the_judge_sees_a_bomb_that_takes_too_long(sandbox: Sandbox) -> None:
    slow = replace(bombs()[0], bounds=Bounds(seconds=0.05))
    verdict = slow.run(sandbox)
    assert not verdict.passed
    assert "unfinished" in verdict.detail


def test_the_judge_sees_a_bomb_that_takes_the_harmless_file_with_it(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bombing, "_HARMLESS", "harmless.unread")
    verdict = Bomb(name="plain", suffix=".txt", make=lambda: "A lamp.").run(sandbox)
    assert verdict.detail == "the harmless file beside it was not stored"


def test_text_that_looks_like_output_within_a_line_is_no_forgery(sandbox: Sandbox) -> None:
    plain = forging.Forging(name="plain", hostile=[f" {one}" for one in forging._FORGED] * 4)
    verdict = plain.run(sandbox)
    assert verdict.passed, verdict.detail


def test_the_judge_sees_a_forged_line_and_a_control_character(sandbox: Sandbox) -> None:
    ended = CommandResult(code=0, stdout=b"", stderr=b"", seconds=0, memory_bytes=0)
    for printed, seen in (
        (f"1. Sea\n{forging._FORGED_CITATION}\n", "forged"),
        ("1. Sea\x1b[2J\n", "'\\x1b'"),
    ):
        output = replace(ended, stdout=printed.encode())
        assert seen in forging._printed(output, as_json=False)
    split = replace(ended, stdout=b'{"a":\n1}')
    assert forging._printed(split, as_json=True) == "a line is no JSON"


def test_the_judge_sees_text_from_outside(sandbox: Sandbox) -> None:
    def copies(sandbox: Sandbox, folder: traversal.Path) -> str:
        (folder / "files").mkdir()
        secret = (folder / "outside" / "secret.txt").read_text()
        (folder / "files" / "a.txt").write_text(secret)
        return traversal._read_outside(sandbox, folder / "files")

    verdict = traversal.Traversal(name="copies", attempt=copies).run(sandbox)
    assert "holds text from outside" in verdict.detail


def test_the_judge_sees_a_file_that_escaped(sandbox: Sandbox) -> None:
    def writes(sandbox: Sandbox, _folder: traversal.Path) -> str:
        (sandbox.kb.store.root / "escaped.txt").write_text("x")
        (sandbox.folder / "escaped.txt").write_text("x")
        return ""

    try:
        verdict = traversal.Traversal(name="writes", attempt=writes).run(sandbox)
    finally:
        (sandbox.kb.store.root / "escaped.txt").unlink()
    assert "wrote" in verdict.detail


def test_the_judge_sees_a_neighbours_document(sandbox: Sandbox) -> None:
    """The neighbour's document in the tenant's own store stands for a leak."""
    leaked = Document(id="leak", title="", text=tenant_crossing._THEIRS.text)
    with sandbox.planted([leaked]):
        for attack in tenant_crossing.tenant_crossings():
            if attack.name in ("search", "answer", "prompts"):
                assert not attack.run(sandbox).passed, attack.name
