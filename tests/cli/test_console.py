"""How the program names itself to a person."""

import sys

import pytest

from lmscope.cli import console


@pytest.mark.parametrize(
    ("on_path", "called", "expected"),
    [
        ("/usr/bin/lmscope", ".venv/bin/lmscope", "lmscope"),
        (None, ".venv/bin/lmscope", ".venv/bin/lmscope"),
        (None, "/somewhere/lmscope/__main__.py", "python -m lmscope"),
    ],
)
def test_the_program_names_itself_as_the_shell_here_finds_it(
    on_path, called, expected, monkeypatch
):
    monkeypatch.setattr(console, "which", lambda _name: on_path)
    monkeypatch.setattr(sys, "argv", [called])
    assert console.own_command() == expected
