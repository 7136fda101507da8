"""What a person can get wrong in a trace: each is one sentence, and leaves no run behind."""

import json

import pytest

from lmscope.core.errors import LmscopeError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.trace import TraceRecipe, trace


@pytest.fixture(scope="module")
def refused(trained, tmp_path_factory):
    """`refused(**changes)`: what the trace says that cannot be."""

    def refused(**changes):
        values = {
            "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 0},
            "prompts": {"texts": ["the soldier"]},
            **changes,
        }
        root = tmp_path_factory.mktemp("runs")
        with pytest.raises(LmscopeError) as caught:
            trace(TraceRecipe.from_mapping(values), root=root)
        assert not list(root.iterdir())
        sentence = str(caught.value)
        assert "\n" not in sentence
        return sentence

    return refused


def prompts(target, text="the soldier"):
    return {"texts": [text], "target": target}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ('" Paris"', '" Paris" is not one token'),
        ('"é"', '"é" is not in the vocabulary'),
        ("token:99999", "There is no token 99999"),
        ('"e" - token:99999', "There is no token 99999"),
        ('"e"@90', "There is no position 90: the prompt has 12 tokens"),
        ("resid_post@1/64", "There is no latent 64"),
        ("resid_post@0/3", "no dictionary of this circuit writes or is called 'resid_post@0'"),
        ("score 1.9 3->1", "There is no head 1.9"),
        ("score 1.0 1->3", "Position 1 cannot attend to 3"),
        ("score 1.0", "is no target: write a token"),
    ],
)
def test_a_target_that_is_not_there(refused, target, words):
    assert words in refused(prompts=prompts(target))


def test_a_prompt_longer_than_the_context(refused):
    assert "positions: shorten it" in refused(prompts=prompts(None, "e" * 5000))


@pytest.mark.parametrize(("texts", "words"), [([], "nothing to trace on"), ([""], "is empty")])
def test_no_prompt(refused, texts, words):
    assert words in refused(prompts={"texts": texts})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("not json", "Row 1"),
        ('{"text": "a"}', "is no prompt"),
        ('{"prompt": "a", "target": 3}', "'target' in row 1"),
        ('{"prompt": "a", "target": "score"}', ""),
    ],
)
def test_a_file_of_prompts_with_a_row_that_is_none(refused, tmp_path, row, words):
    file = tmp_path / "prompts.jsonl"
    file.write_text(row + "\n")
    assert words in refused(prompts={"file": str(file)})


def test_a_file_of_prompts_that_is_not_there(refused):
    assert "no file of prompts at 'nowhere.txt'" in refused(prompts={"file": "nowhere.txt"})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("prompts.json", b"[1]", "name one that ends in .txt"),
        ("prompts.txt", b"\xff\xfe", "no text in UTF-8"),
        ("empty.txt", b"\n", "nothing to trace on"),
    ],
)
def test_a_file_that_holds_no_prompts(refused, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert words in refused(prompts={"file": str(tmp_path / name)})


def test_an_ablation_of_an_untried_circuit(refused):
    assert "has no effect" in refused(verify=False, ablation={"by": ["mean"]})


def test_a_prompt_of_many_is_named_when_its_target_is_not_there(trained, tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "the soldier"}, {"prompt": "a", "target": '"e"@9', "name": "short"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 0},
        "prompts": {"file": str(file)},
    }
    with pytest.raises(LmscopeError, match="Prompt '0001-short': There is no position 9"):
        trace(TraceRecipe.from_mapping(values), root=tmp_path / "runs")


def test_no_dictionary_named(refused, shelf):
    model = {"name": str(shelf / "model")}
    assert "was named: give a run that trained some" in refused(dictionaries={}, model=model)


def test_none_beside_another(refused, trained):
    sources = ["none", str(trained.path)]
    assert "leave the others out" in refused(dictionaries={"sources": sources})


def test_a_dictionary_that_is_not_there(refused):
    assert "no dictionary at 'nowhere'" in refused(dictionaries={"sources": ["nowhere"]})


def test_a_name_that_no_dictionary_has(refused, trained):
    choice = {"sources": [str(trained.path)], "only": ["resid_post-2*"]}
    assert "No dictionary is called 'resid_post-2*'. Did you mean resid_post-1" in refused(
        dictionaries=choice
    )


def test_two_dictionaries_that_write_one_site(refused, trained, tmp_path):
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    Dictionary.load(folder).save(tmp_path / "again")
    sources = [str(trained.path), str(tmp_path / "again")]
    assert "both write 'resid_post@1'" in refused(
        dictionaries={"sources": sources},
        model={"name": str(trained.recipe_values["model"]["name"])},
    )


def test_dictionaries_of_another_model_of_the_same_shape(refused, shelf):
    sentence = refused(model={"name": str(shelf / "tuned")})
    assert "was trained on" in sentence
    assert "--other-model" in sentence


def test_dictionaries_of_a_model_of_another_shape(refused, shelf, trained):
    choice = {"sources": [str(trained.path)], "other_model": True, "calibration_tokens": 0}
    sentence = refused(model={"name": str(shelf / "wide")}, dictionaries=choice)
    assert "32 coordinates" in sentence


def test_a_model_of_other_weights_is_taken_where_it_is_meant(trained, shelf, tmp_path):
    values = {
        "dictionaries": {
            "sources": [str(trained.path)],
            "other_model": True,
            "calibration_tokens": 0,
        },
        "model": {"name": str(shelf / "tuned")},
        "prompts": {"texts": ["one"]},
    }
    assert trace(TraceRecipe.from_mapping(values), root=tmp_path).status == "done"


def test_an_atlas_that_is_not_there(refused):
    assert "no atlas at 'nowhere'" in refused(labels=["nowhere"])
