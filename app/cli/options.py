"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreDir = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Folder of the store.")
]
Tenant = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whose store under that folder.  [default: default]"),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show the queries of each hop as they were searched.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        envvar="HOPTRAIL_SETTINGS",
        help="TOML file whose values stand behind these options.",
    ),
]
EmbedderName = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help="minilm, http://HOST:PORT/v1#MODEL, or hash (for tests); a store remembers its own.",
    ),
]
EmbedderFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the MiniLM weights are, if not installed."),
]
EmbedderKeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File that holds the embedder server's API key.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        help="Only documents whose metadata say so; may be repeated. A plain number (1884, not 007 "
        "or 1e5), true and false are meant as such; write KEY='\"7\"' for the text.",
    ),
]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long to wait for another writer.")
]
ModelUrl = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="URL",
        help="OpenAI-compatible server, such as http://127.0.0.1:8000/v1. Without one the answer "
        "is made of the documents' own words.",
    ),
]
ModelName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which of the server's models.  [default: first]")
]
KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File that holds the server's API key.")
]
RoleSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="ROLE.KEY=VALUE",
        help="What is different for one role's model, such as planner.thinking=on or "
        "scorer.url=http://127.0.0.1:8001/v1; may be repeated. Keys: url, name, api_key_file, "
        "api_key_env, thinking, thought_tokens.",
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="pool, single, lattice, plan, auto, naive, ircot, iter-retgen, self-ask or "
        "monologue.  [default: pool]",
    ),
]
AskMode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="NAME",
        help="Search: graph, hybrid, lexical or dense.  [default: graph if the store has one]",
    ),
]
Calls = Annotated[int | None, typer.Option(metavar="N", help="Most requests to the model.")]
Tokens = Annotated[int | None, typer.Option(metavar="N", help="Most tokens.")]
Searches = Annotated[int | None, typer.Option(metavar="N", help="Most searches.")]
Seconds = Annotated[float | None, typer.Option(metavar="N", help="Most time.")]
Graph = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="New store: links (passages are linked by the names in them) or none.  "
        "[default: links]",
    ),
]
Lexical = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="New store: tantivy or rank-bm25.  [default: tantivy]"),
]
Dense = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="New store: exact or chroma.  [default: exact]"),
]
