"""Targets as people write them."""

import pytest

from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.scores import ScoreTarget
from lmscope.circuits.target_text import (
    FeatureText,
    LogitText,
    TopTarget,
    parse_target,
    quoted,
    resolve_target,
    token_of,
)
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.site import Site
from lmscope.models.miniature import miniature


@pytest.fixture(scope="module")
def llama():
    return miniature("llama")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (None, TopTarget()),
        ("top", TopTarget()),
        ("top@3", TopTarget(3)),
        ('" Paris"', LogitText(" Paris")),
        ('token " Paris"', LogitText(" Paris")),
        (" Paris", LogitText(" Paris")),
        ("Paris", LogitText("Paris")),
        ("token:123", LogitText(123)),
        ('" Paris"@-2', LogitText(" Paris", position=-2)),
        ('" Paris" - " London"', LogitText(" Paris", " London")),
        ('token:5 - " London" @ 4', LogitText(5, " London", 4)),
        ('" Paris" - mean', LogitText(" Paris", against_mean=True)),
        (r'"\"" - "\n"', LogitText('"', "\n")),
        ("-", LogitText("-")),
        ("@", LogitText("@")),
        ("mlp_out@2/17", FeatureText("mlp_out@2", 17)),
        ("mlp_out@2/17@-1", FeatureText("mlp_out@2", 17)),
        ("mlp_out@2/17@4", FeatureText("mlp_out@2", 17, 4)),
        ("mlp_out-2-64-topk-4/17@4", FeatureText("mlp_out-2-64-topk-4", 17, 4)),
        ("score 3.5 8->2", ScoreTarget(3, 5, 8, 2)),
        ("score 3.5 -1 -> 2 query", ScoreTarget(3, 5, -1, 2, "query")),
        ("score 3.5 8->2 - 8->4", ScoreTarget(3, 5, 8, 2, against=4)),
        ("score 3.5 -1->-3 - -1->-2 key", ScoreTarget(3, 5, -1, -3, "key", -2)),
        ("score 3.5 8->2 - mean", ScoreTarget(3, 5, 8, 2, against="mean")),
    ],
)
def test_a_target_is_read_in_each_of_its_forms(text, parsed):
    assert parse_target(text) == parsed


@pytest.mark.parametrize(
    "text", ["score 3.5", "score 3.5 8->2 both sides", '" Paris', 'token: "a"', "mlp_out@2/x", ""]
)
def test_what_begins_as_a_form_and_goes_on_otherwise_is_refused(text):
    with pytest.raises(RecipeError, match="write a token"):
        parse_target(text)


def test_scores_of_two_queries_are_not_compared():
    with pytest.raises(RecipeError, match=r"8 and 7 were given: write score 3\.5 8->2 - 8->4"):
        parse_target("score 3.5 8->2 - 7->4")


def test_a_backslash_that_means_nothing_is_refused():
    with pytest.raises(RecipeError, match="backslash"):
        parse_target(r'"\q"')


def test_a_token_is_found_by_its_text_and_by_its_id(llama):
    number = token_of(llama, "e")
    assert llama.tokenizer.decode([number]) == "e"
    assert token_of(llama, number) == number


def test_a_space_is_a_token_like_others(llama):
    assert llama.tokenizer.decode([token_of(llama, " ")]) == " "


def test_a_text_of_several_tokens_is_refused_with_its_parts(llama):
    with pytest.raises(DataError, match=r'" Paris" is not one token .* but 6 \(" ", "P", "a"'):
        token_of(llama, " Paris")


def test_the_same_text_without_its_space_is_pointed_out(llama):
    with pytest.raises(DataError, match='"e" is one'):
        token_of(llama, " e")


@pytest.mark.parametrize(("token", "words"), [("é", "not in the vocabulary"), (99_999, "from 0")])
def test_what_the_vocabulary_lacks_is_refused(llama, token, words):
    with pytest.raises(DataError, match=words):
        token_of(llama, token)


def test_a_token_less_itself_is_refused(llama):
    with pytest.raises(DataError, match="two different tokens"):
        LogitText("e", "e").resolve(llama)


def test_a_feature_is_found_by_site_and_by_the_name_of_its_dictionary():
    site = Site("mlp_out", 2)
    sites = {"mlp_out@2": site, "mine": site}
    assert FeatureText("mine", 3).resolve(sites) == FeatureText("mlp_out@2", 3).resolve(sites)
    with pytest.raises(DataError, match=r"no feature 'mlp_out@3/3'.* Did you mean mlp_out@2\?"):
        FeatureText("mlp_out@3", 3).resolve(sites)
    with pytest.raises(DataError, match="no dictionary at all"):
        FeatureText("mlp_out@3", 3).resolve({})


def test_the_top_prediction_is_that_of_the_model_itself(llama):
    tokens = llama.batch("one two").tokens[0]
    frozen = freeze(Replacement(llama), tokens)
    start = resolve_target(parse_target("top@4"), llama, {}).start(frozen)
    logits = llama(llama.batch("one two")).logits[0, 4]
    assert start.token == int(logits.argmax())
    assert start.value == pytest.approx(float(logits.max()), rel=1e-4)


def test_tokens_are_called_by_their_texts(llama):
    frozen = freeze(Replacement(llama), llama.batch("one two").tokens[0])

    def name(text):
        return resolve_target(parse_target(text), llama, {}).start(frozen).name

    assert name('"e" @3') == 'logit "e" @3'
    assert name('"e" - " "') == 'logit "e" - logit " " @7'
    assert name('"e" - mean') == 'logit "e" - mean logit @7'


def test_quotes_keep_control_characters_from_a_terminal():
    assert quoted('a\x1b"\n') == '"a\\u001b\\"\\n"'
