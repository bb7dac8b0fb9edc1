"""What `import hoptrail` and the packages below it export, and what the import costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from support.imports import module_of, sources
from support.paths import ROOT

import hoptrail
from hoptrail.agents import KnowledgeBase, aask, areplay, aresume, ask, replay, resume
from hoptrail.evals import aevaluate, evaluate

DOORS = {
    "hoptrail": """STRATEGIES Budget Claim Document Evidence HoptrailError KnowledgeBase ModelClient
        Passage Paused Quota Receipt ReplayResult RoleModel RoleModels RunRetention RunSettings
        ServedModel Turn Usage
        __version__ aask areplay aresume ask astream ingest replay resume""",
    "hoptrail.prompts": "Prompt PromptError Rendered load",
    "hoptrail.rag": """BackendRefused Document Embedder EmbedderError FsckReport Hit HoptrailError
        IngestReport IngestSettings MinMaxFusion Mode ModelError ParseError Passage Ranking
        ReciprocalRankFusion Retriever SettingsError Store StoreBusy StoreDamaged StoreError
        StoreFull StoreMismatch StoreMissing StoreOptions StoreReadOnly StoreSpec StoreStats
        TreeMismatch TreeMissing Via Where load_embedder""",
    "hoptrail.rag.embedders": """CachingEmbedder Embedder HashEmbedder MiniLMEmbedder
        OpenAIEmbedder OpenAIEmbedderSettings load_embedder recorded_embedder""",
    "hoptrail.rag.ingest": "IngestReport IngestSettings TriplesReport import_triples ingest",
    "hoptrail.rag.passage_graph": """EntityProfile HopResult Neighbourhood NeighbourhoodLimits
        SharedEntity entity_profile neighbourhood neighbourhood_of_passages neighbourhood_text
        shared_entities""",
    "hoptrail.rag.store": "Store StoreOptions StoreSpec StoreStats",
    "hoptrail.rag.store.indexes": "Capabilities DenseIndex IndexBackend LexicalIndex",
    "hoptrail.rag.tree": """Tree TreeSearch TreeSearchSettings build_tree load_tree run_search
        sync_stored_tree""",
    "hoptrail.agents": """STRATEGIES AbstainReason Answer Budget Claim Evidence KnowledgeBase
        ModelClient Outcome Paused Plan Query Quota Receipt ReplayResult RoleModel RoleModels
        RunRetention RunSettings ServedModel StopReason Strategy TreeSearchSettings Turn Usage aask
        areplay aresume ask astream open_library replay resume unfinished_runs""",
    "hoptrail.agents.llm": """AttemptFailed ChatReply ChatRequest Endpoint HttpEndpoint Message
        ModelClient ModelUnavailable ScriptedEndpoint ServedModel ServerInfo Thinking""",
    "hoptrail.agents.nodes": """answer answer_briefly answer_follow_up ask_next assess feed_back
        follow_up navigate next_query next_steps plan plan_steps read read_steps receipt refine
        retrieve rewrite route search_step think track verify""",
    "hoptrail.agents.roles": """Answerer Assessor DeltaListener Draft PassageToRead Planner
        QueryWriter Quote Ranked Ranker Reader Reasoner ReasoningStep Refiner Rewriter RoleInput
        RoleResult Roles Scorer ShortAnswer""",
    "hoptrail.agents.strategies": "STRATEGIES RunGraph Strategy add_nodes strategy unless_stopped",
    "hoptrail.evals": """Dataset EvalConfig EvalProgress Question QuestionResult Report aevaluate
        evaluate load_dataset""",
    "hoptrail.evals.attacks": """Attack AttackReport AttackResult Kind Measure Sandbox
        SandboxSettings Verdict all_attacks run_attacks""",
    "hoptrail.evals.metrics": "Mean average contains exact_match f1 ndcg recall",
}


@pytest.mark.parametrize("door", DOORS)
def test_a_door_exports_this_list_and_each_name_can_be_had(door: str) -> None:
    module = importlib.import_module(door)
    assert sorted(module.__all__) == sorted(DOORS[door].split())
    for name in module.__all__:
        found = getattr(module, name)
        assert not inspect.ismodule(found), f"{door}.{name} is a module"


def test_a_name_that_is_a_module_too_stays_what_the_door_says() -> None:
    """`hoptrail.agents.ask` is a file as well: importing it must not take the function's place."""
    for file, name in (
        ("hoptrail.agents.ask", "ask"),
        ("hoptrail.rag.passage_graph.neighbourhood", "neighbourhood"),
        ("hoptrail.rag.ingest.pipeline", "ingest"),
    ):
        importlib.import_module(file)
        door = importlib.import_module(file.rpartition(".")[0])
        assert callable(getattr(door, name))


def test_the_import_loads_nothing_of_ours_and_nothing_heavy() -> None:
    code = (
        "import sys, hoptrail; hoptrail.__version__; dir(hoptrail)\n"
        "print(sorted(m for m in sys.modules if m.startswith('hoptrail.')), "
        "[m for m in ('numpy', 'langgraph', 'pydantic', 'httpx', 'onnxruntime', 'chromadb', "
        "'tantivy', 'llama_index', 'nltk') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[] []"


def test_the_version_is_the_package_s() -> None:
    assert f'version = "{hoptrail.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("function", "twin"),
    [(aask, ask), (aresume, resume), (areplay, replay), (aevaluate, evaluate),
     (KnowledgeBase.aask, KnowledgeBase.ask), (KnowledgeBase.aresume, KnowledgeBase.resume)],
)  # fmt: skip
def test_a_synchronous_twin_keeps_the_signature(function: object, twin: object) -> None:
    assert inspect.signature(twin) == inspect.signature(function)  # type: ignore[arg-type]
    assert twin.__doc__ == function.__doc__
    assert twin.__name__ == function.__name__.removeprefix("a")  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_layer_imports_from_its_own_files_not_from_its_own_doors(path: Path) -> None:
    """So that a file loads what it needs and no more, and no circle can hide behind a door."""
    if path.name == "__init__.py":
        return
    layer = module_of(path).split(".")[0]
    doors = {door for door in DOORS if door.split(".")[1:2] == [layer]}
    doors -= {"hoptrail.agents.nodes", "hoptrail.agents.strategies"}  # one folder, one thing
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in doors:
            taken = {alias.name for alias in node.names} & set(DOORS[node.module].split())
            files = {name for name in taken if (_folder(node.module) / f"{name}.py").exists()}
            assert taken <= files, f"line {node.lineno}: {taken}"


def _folder(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")[1:])
