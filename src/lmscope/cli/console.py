"""Where words go: sentences to stderr, data to stdout."""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from lmscope.display.tables import Table, shown
from lmscope.display.tokens import TokenStrip
from lmscope.display.visible import visible

_UNBROKEN: Final = 10_000
"""Columns of a line that a program reads."""


def stderr() -> Console:
    """The console for sentences and bars."""
    return Console(stderr=True, highlight=False, markup=False)


def stdout() -> Console:
    """The console for data that people read."""
    return Console(highlight=False, markup=False)


def say(sentence: str) -> None:
    """Write one sentence to stderr, unbroken, so that it can be searched for."""
    stderr().print(sentence, soft_wrap=True)


def own_command() -> str:
    """How a person calls this program here: by name where the shell finds it, by its path otherwise."""
    if which("lmscope") is not None:
        return "lmscope"
    called = Path(sys.argv[0])
    return str(called) if called.name == "lmscope" else "python -m lmscope"


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write one JSON value to stdout and nothing else."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for a number that is not one."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def print_rows(rows: Iterable[tuple[str, Any]]) -> None:
    """Write key and value lines to stdout, values in one column."""
    pairs = [(visible(str(key)), visible(readable(value))) for key, value in rows]
    width = max((len(key) for key, _ in pairs), default=0)
    for key, value in pairs:
        print_line(f"{key:<{width}}  {value}".rstrip())


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as lines of dotted key and text."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", readable(value)))
    return rows


def readable(value: Any) -> str:
    """One value as people read it: a dash for none, six digits, commas between many."""
    match value:
        case list() | tuple():
            return ", ".join(map(readable, value)) or shown(None)
        case Mapping():
            return " ".join(f"{key}={text}" for key, text in flat(value))
        case float():
            return f"{value:.6g}"
        case None | str() | int():
            return shown(value)
        case _:
            return str(value)


def print_line(line: str) -> None:
    """Write one line to stdout, unbroken."""
    sys.stdout.write(f"{line}\n")


def print_table(table: Table) -> None:
    """Write a table to stdout: as wide as a terminal, or unbroken when a program reads it."""
    console, drawn = stdout(), table.to_rich()
    if table.caption:
        print_line(visible(table.caption))
    drawn.box, drawn.pad_edge, drawn.caption = None, False, None
    for column in drawn.columns[:-1]:
        column.no_wrap = True
    if console.is_terminal:
        console.print(drawn)
        return
    console.width = _UNBROKEN
    with console.capture() as capture:
        console.print(drawn)
    for line in capture.get().splitlines():
        print_line(line.rstrip())


def discard_stdout() -> None:
    """Let Python flush stdout into nothing at its end, after the reader of a pipe has gone."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())


def print_strip(strip: TokenStrip) -> None:
    """Write a context on one line to stdout, its tokens shaded; wrapped only where it must be."""
    stdout().print(Text("  ").append_text(strip.to_rich(break_lines=False)))
