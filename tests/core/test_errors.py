import pytest

from lmscope.core import errors


@pytest.mark.parametrize(
    "name",
    [
        "RecipeError",
        "SiteError",
        "ModelError",
        "ArtifactError",
        "RunError",
        "DataError",
        "BudgetError",
    ],
)
def test_every_error_is_an_lmscope_error(name):
    assert issubclass(getattr(errors, name), errors.LmscopeError)


def test_near_matches_come_first():
    assert errors.did_you_mean("topkk", ["relu", "topk", "batchtopk"]).startswith(
        " Did you mean topk"
    )


def test_near_matches_ignore_case():
    assert errors.did_you_mean("TOPK", ["topk"]) == " Did you mean topk?"


def test_without_near_matches_all_choices_are_named_in_order():
    assert errors.did_you_mean("zzz", ["b", "a"]) == " Known: a, b."


def test_no_choices_give_no_sentence():
    assert errors.did_you_mean("zzz", []) == ""


def test_at_most_twenty_choices_are_named():
    sentence = errors.did_you_mean("zzzzzz", [f"choice{i:02}" for i in range(30)])
    assert "choice19, ..." in sentence
    assert "choice20" not in sentence
