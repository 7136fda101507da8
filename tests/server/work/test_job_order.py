"""Requests for jobs: what they come to, and what may not be asked from a browser."""

import json
import shlex
import tomllib
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import pytest

from lmscope.core.errors import LmscopeError
from lmscope.server.failures import NotFound, WrongInput
from lmscope.server.library.library import Library
from lmscope.server.schemas.work import JobRequest
from lmscope.server.work.order import order, recipes

NARROW = "resid_post-1-64-topk-4"


@pytest.fixture(scope="module")
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


def made(library, **request):
    return order(JobRequest(**request), library)


def test_an_evaluation_takes_the_run_and_its_options(library, small_library):
    found = made(
        library,
        verb="evaluate",
        run=small_library.train.name,
        options={"evaluation.tokens": 512, "name": "again"},
    )
    assert found.values == {
        "dictionary": str(small_library.train),
        "evaluation": {"tokens": 512},
        "name": "again",
    }
    assert found.root == small_library.root
    assert found.title == f"Evaluate {small_library.train.name}"


def test_the_command_says_the_same(library, small_library):
    found = made(
        library,
        verb="atlas",
        run=small_library.train.name,
        only=[NARROW],
        options={"census.tokens": 512, "text.documents": "held_out"},
    )
    words = shlex.split(found.command)
    root = str(small_library.root)
    assert words[:4] == ["lmscope", "atlas", "build", str(small_library.train)]
    assert words[4:6] == ["--only", NARROW]
    assert words[-2:] == ["--runs-dir", root]
    sets = [word for before, word in pairwise(words) if before == "--set"]
    assert sets == ["census.tokens=512", 'text.documents="held_out"']
    assert found.values["only"] == [NARROW]


def test_only_some_are_worked_on_where_the_job_can(library, small_library):
    train, atlas = small_library.train.name, small_library.atlas.name
    found = made(library, verb="geometry", run=train, only=[NARROW])
    folder = small_library.train / "artifacts" / "dictionaries" / NARROW
    assert found.values == {"dictionaries": [str(folder)]}
    found = made(library, verb="explain", run=atlas, only=[NARROW])
    assert found.values == {"atlas": str(small_library.atlas), "only": [NARROW]}
    with pytest.raises(WrongInput, match="measures all 2 dictionaries"):
        made(library, verb="evaluate", run=train, only=[NARROW])
    with pytest.raises(WrongInput, match=r"has no 'resid_post-1-65-topk-4'\. Did you mean"):
        made(library, verb="atlas", run=train, only=["resid_post-1-65-topk-4"])
    everything = made(library, verb="evaluate", run=train, only=[NARROW, "resid_post-1-128-topk-4"])
    assert everything.values == {"dictionary": str(small_library.train)}


def test_values_come_back_as_they_were_asked_for(library, small_library):
    options = {"seed": 2**70, "a.b": 1e-7, "c": True, "d": [1, 2.5], "scorers": ["detection", "ü"]}
    found = made(library, verb="explain", run=small_library.atlas.name, options=options)
    assert found.values["seed"] == 2**70
    assert found.values["a"]["b"] == 1e-7
    assert found.values["c"] is True
    assert found.values["d"] == [1, 2.5]
    assert found.values["scorers"] == ["detection", "ü"]
    words = shlex.split(found.command)
    assert tomllib.loads(words[words.index("--set") + 1]) == {"seed": 2**70}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint.base_url": "http://elsewhere"}, "takes no text here"),
        ({"endpoint.key_env": "HOME"}, "takes no text here"),
        ({"model.name": "/etc"}, "takes no text here"),
        ({"dictionary": "/etc"}, "takes no text here"),
        ({"transfer.models": ["/etc"]}, "takes no text here"),
        ({"text.source": "/etc/passwd"}, "neither `sample` nor the text of a run"),
        ({"text.source": "hf:someone/something"}, "neither `sample` nor the text of a run"),
        ({"explainer": "llm"}, "asks a language model"),
        ({"judge": "llm"}, "asks a language model"),
        ({"a b": 1}, "is no key"),
        ({"": 1}, "is no key"),
        ({"a=1\nb": 1}, "is no key"),
        ({"x": {"y": 1}}, "must be a number, a word"),
        ({"x": [[1]]}, "must be a number, a word"),
        ({"x": None}, "must be a number, a word"),
        ({"name": "x" * 201}, "too long"),
        ({f"k{i}": 1 for i in range(41)}, "too many"),
    ],
)
def test_what_names_files_hosts_or_variables_is_for_the_command_line(
    library, small_library, options, message
):
    with pytest.raises(WrongInput, match=message):
        made(library, verb="atlas", run=small_library.train.name, options=options)


def test_the_text_of_a_served_run_may_be_chosen(library, small_library):
    source = library.run(small_library.train.name).recipe["text"]["source"]
    for text in ("sample", source):
        found = made(
            library, verb="atlas", run=small_library.train.name, options={"text.source": text}
        )
        assert found.values["text"]["source"] == text


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({"verb": "evaluate"}, WrongInput, "Give the id of a run"),
        ({"verb": "evaluate", "run": "nothing"}, NotFound, "no run 'nothing'"),
        ({"verb": "evaluate", "run": "../.."}, NotFound, "no run"),
        ({"verb": "evaluate", "run": "x", "recipe": "demo"}, WrongInput, "takes no recipe"),
        ({"verb": "train"}, WrongInput, "needs a recipe"),
        ({"verb": "train", "recipe": "scope-smollm"}, WrongInput, "Did you mean scope-smollm2"),
        ({"verb": "train", "recipe": "/etc/x.toml"}, WrongInput, "There is no recipe"),
        ({"verb": "train", "recipe": "scope-smollm2", "run": "x"}, WrongInput, "works on no run"),
        ({"verb": "train", "resume": "x", "options": {"seed": 1}}, WrongInput, "its own recipe"),
        ({"verb": "train", "resume": "nothing"}, NotFound, "no run 'nothing'"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(library, request_, error, message):
    with pytest.raises(error, match=message):
        made(library, **request_)


def test_runs_without_what_is_worked_on_are_refused(library, small_library):
    with pytest.raises(WrongInput, match="holds no atlas"):
        made(library, verb="explain", run=small_library.train.name)
    with pytest.raises(WrongInput, match="holds no dictionary"):
        made(library, verb="evaluate", run=small_library.atlas.name)
    with pytest.raises(WrongInput, match="is done, so there is nothing to go on with"):
        made(library, verb="train", resume=small_library.train.name)


def test_an_interrupted_run_is_gone_on_with_by_its_own_job(own_library):
    record = own_library.explained / "run.json"
    values = json.loads(record.read_text()) | {"status": "interrupted"}
    record.write_text(json.dumps(values))
    with closing(Library([own_library.root])) as library:
        found = made(library, verb="train", resume=own_library.explained.name)
    assert (found.verb, found.resume, found.values) == ("explain", own_library.explained, {})
    assert found.command == f"lmscope explain --resume {own_library.explained}"


def test_a_training_needs_a_folder_of_runs(library, small_library):
    found = made(library, verb="train", recipe="scope-smollm2", options={"seed": 3})
    assert found.root == small_library.root
    assert found.values["seed"] == 3
    assert found.values["job"] == "train"
    with (
        closing(Library([small_library.train])) as one,
        pytest.raises(WrongInput, match="Start `lmscope serve` with a folder of runs"),
    ):
        made(one, verb="train", recipe="scope-smollm2")


def test_recipes_are_those_of_trainings():
    assert "scope-smollm2" in recipes()
    assert "demo" not in recipes()


def test_an_order_is_one_line_for_its_process(library, small_library):
    found = made(library, verb="evaluate", run=small_library.train.name)
    text = replace(found, values={"name": "a\nb"}).line()
    assert text.count(b"\n") == 1
    with pytest.raises(LmscopeError):
        made(library, verb="evaluate", run=small_library.train.name, options={"dictionary.x": 1})
