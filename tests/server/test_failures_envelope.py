import json

import pytest

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.server import failures


def envelope(error):
    answer = failures.refusal(error)
    return answer.status_code, json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (failures.NotFound("a"), 404, "not_found"),
        (failures.WrongInput("a"), 422, "wrong_input"),
        (failures.Forbidden("a"), 403, "forbidden"),
        (failures.Damaged("a"), 424, "damaged"),
        (failures.Busy("a"), 429, "busy"),
        (failures.ReadOnly("a"), 403, "read_only"),
        (failures.WorkerGone("a"), 503, "worker_gone"),
        (ArtifactError("a"), 424, "damaged"),
        (RecipeError("a"), 422, "wrong_input"),
    ],
)
def test_each_failure_has_a_status_and_a_code(error, status, code):
    found, body = envelope(error)
    assert (found, body["code"]) == (status, code)


def test_who_is_to_come_back_is_told_when():
    assert failures.refusal(failures.Busy("a")).headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("sentence", "message", "hint"),
    [
        ("There is none. Build one.", "There is none.", "Build one."),
        ("One sentence.", "One sentence.", None),
        (
            "Found 0.5 of 1.0 at x. Did you mean a, b? Or c.",
            "Found 0.5 of 1.0 at x.",
            "Did you mean a, b? Or c.",
        ),
        (
            "It fails: the file ends early. `lmscope atlas build` makes it anew.",
            "It fails: the file ends early.",
            "`lmscope atlas build` makes it anew.",
        ),
        ("'a.b. c' is unknown.", "'a.b. c' is unknown.", None),
    ],
)
def test_a_sentence_is_parted_into_what_was_found_and_what_to_do(sentence, message, hint):
    assert failures.split(sentence) == (message, hint)
