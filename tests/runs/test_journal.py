import json

import numpy as np
import pytest
import torch

from lmscope.core.errors import RunError
from lmscope.runs.journal import Journal


def test_lines_are_plain_json_whatever_the_numbers_were(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.append(
        {"a": float("nan"), "b": torch.tensor(2), "c": np.float32(0.5), "d": float("inf")}
    )
    line = (tmp_path / "a.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"a": None, "b": 2, "c": 0.5, "d": None}


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\nbroken\n')
    with pytest.raises(RunError, match="Line 2 of"):
        Journal(tmp_path / "a.jsonl").rows()


def test_an_absent_journal_is_empty(tmp_path):
    assert Journal(tmp_path / "a.jsonl").rows() == []


def test_keep_drops_lines_and_appending_goes_on(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    for step in range(4):
        journal.append({"step": step})
    journal.keep(lambda row: row["step"] < 2)
    journal.append({"step": 9})
    assert [row["step"] for row in journal.rows()] == [0, 1, 9]
