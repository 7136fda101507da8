"""Lines between the server and the process with the model."""

import math

import pytest

from lmscope.core.errors import DataError, LmscopeError, ProcessGone, RecipeError
from lmscope.server.failures import NotFound
from lmscope.server.live.protocol import (
    Report,
    error_name,
    line,
    read_line,
    refusal_of,
    report_line,
)


def test_a_line_comes_back_as_it_was_with_null_for_what_is_no_number():
    found = read_line(line({"a": [1, math.nan, math.inf], "b": "\n\u2028"}))
    assert found == {"a": [1, None, None], "b": "\n\u2028"}
    assert line({"b": "\n"}).count(b"\n") == 1


def test_a_line_that_holds_no_object_is_an_error():
    for text in (b"[1]", b"{", b""):
        with pytest.raises(ValueError, match=r"."):
            read_line(text)


def test_where_the_process_stands_is_a_line_of_the_state():
    assert read_line(report_line(Report("loading", "Loading", "m", ("d",)))) == {
        "state": "loading",
        "message": "Loading",
        "model": "m",
        "dictionaries": ["d"],
    }


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DataError("x"), "DataError"),
        (ProcessGone("x"), "ProcessGone"),
        (NotFound("x"), "LmscopeError"),
        (LmscopeError("x"), "LmscopeError"),
    ],
)
def test_an_error_is_named_by_the_class_that_both_sides_know(error, name):
    assert error_name(error) == name


def test_a_refusal_is_the_error_of_its_name_and_never_something_else_of_the_module():
    assert type(refusal_of({"error": "RecipeError", "message": "No."})) is RecipeError
    for name in ("did_you_mean", "Iterable", "KeyboardInterrupt", None):
        found = refusal_of({"error": name, "message": "No."})
        assert type(found) is LmscopeError
        assert str(found) == "No."
