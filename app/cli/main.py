"""Entry point of the command line `hoptrail`.

Heavy libraries are imported inside the commands that use them, so that `hoptrail --help` is quick.
The exit codes are in `output`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hoptrail.app.cli import mcp_command
from hoptrail.app.cli.commands import ask as asking
from hoptrail.app.cli.commands import attack as attacking
from hoptrail.app.cli.commands import evaluate as evaluating
from hoptrail.app.cli.commands import graph as graphing
from hoptrail.app.cli.commands import ingest as ingesting
from hoptrail.app.cli.commands import serve as serving
from hoptrail.app.cli.commands import store as corpus
from hoptrail.app.cli.commands import tree as treeing
from hoptrail.app.cli.output import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    Notes,
    OutputLost,
    lost_output,
    note,
    prepare_streams,
    report_lost,
    say,
)
from hoptrail.rag.errors import HoptrailError, SettingsError


class _Commands(TyperGroup):
    """Command group that prints a `HoptrailError` as one line and exits with its code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (typer's own)
        """Refuses arguments that are no text, unless they name files, whose names are bytes."""
        for argument in args:
            if not (_is_text(argument) or _is_path(argument)):
                note(f"error: The argument {argument!r} is not UTF-8: type it on a UTF-8 terminal.")
                raise typer.Exit(MISUSED)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (typer's own signature)
        try:
            return super().invoke(ctx)
        except OutputLost as lost:
            raise typer.Exit(report_lost(lost)) from lost
        except HoptrailError as error:
            note(f"error: {error}")
            raise typer.Exit(MISUSED if isinstance(error, SettingsError) else FAILED) from error
        except KeyboardInterrupt:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from None


def _is_text(argument: str) -> bool:
    """Whether an argument is valid Unicode; bytes that are not come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _is_path(argument: str) -> bool:
    """Whether an argument, or the value of an option in it, is the name of something there."""
    return any(os.path.lexists(one) for one in (argument, argument.partition("=")[2]))


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"hoptrail {version('hoptrail')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Answers questions from your own documents, with a receipt for every answer."""
    logger = logging.getLogger("hoptrail")
    if not any(isinstance(handler, Notes) for handler in logger.handlers):
        logger.addHandler(Notes())


for _command in (
    ingesting.ingest,
    asking.ask,
    asking.resume,
    asking.replay,
    corpus.search,
    corpus.delete,
    corpus.stats,
    corpus.fsck,
    corpus.compact,
    attacking.attack,
    mcp_command.mcp,
    serving.serve,
):
    app.command()(_command)
app.add_typer(graphing.graph, name="graph")
app.add_typer(treeing.tree, name="tree")
app.command("eval")(evaluating.evaluate)


def main() -> None:
    """Runs the command in `sys.argv`."""
    prepare_streams()
    try:
        app(prog_name="hoptrail")
    except Exception as error:
        if (lost := lost_output(error)) is not None:
            sys.exit(report_lost(lost))
        traceback.print_exc()
        note(
            "This is a bug in hoptrail. Please report it with the lines above and the command "
            f"that led to it (hoptrail {version('hoptrail')})."
        )
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
