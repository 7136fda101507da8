import re
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from lmscope.core.config import Config, digest_of, parse_override, read_toml, with_overrides
from lmscope.core.errors import RecipeError


class TopK(Config):
    kind: Literal["topk"] = "topk"
    k: int


class Relu(Config):
    kind: Literal["relu"] = "relu"
    coefficient: float = 1.0


class Training(Config):
    lr: float = 1e-3
    steps: int = 10


class Example(Config):
    name: str
    training: Training = Training()
    sparsity: Annotated[TopK | Relu, Field(discriminator="kind")] = TopK(k=3)
    note: str | None = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=3", 3),
        ("a.b=3e-4", 3e-4),
        ("a.b=true", True),
        ("a.b = [1, 2]", [1, 2]),
        ("a.b='quoted'", "quoted"),
        ("a.b=bare word", "bare word"),
        ("a.b=x=y", "x=y"),
        ("a.b=1\nc=2", "1\nc=2"),
        ("a.b=", ""),
    ],
)
def test_an_override_is_toml_or_else_text(text, value):
    assert parse_override(text) == (("a", "b"), value)


@pytest.mark.parametrize("text", ["a.b", "=3", "a..b=3", ""])
def test_what_is_no_override_says_so(text):
    with pytest.raises(RecipeError, match="is not an override"):
        parse_override(text)


def test_overrides_change_a_copy_and_later_ones_win():
    values = {"a": {"b": 1}}
    assert with_overrides(values, ["a.b=2", "a.c.d=x", "a.b=3"]) == {"a": {"b": 3, "c": {"d": "x"}}}
    assert values == {"a": {"b": 1}}


def test_an_override_cannot_run_through_a_value():
    with pytest.raises(RecipeError, match="'b' is a value, not a table"):
        with_overrides({"a": {"b": 1}}, ["a.b.c=2"])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"name": "x", "trainin": {}},
            "'trainin' is not an option of the recipe. Did you mean training?",
        ),
        ({"name": "x", "training": {"l": 1, "stepps": 2}}, "Did you mean"),
        ({"nam": "x"}, "'nam' is not an option of the recipe. Did you mean name?"),
        ({}, "the recipe lacks 'name'; give it in the file or with --set name=VALUE."),
        ({"name": "x", "training": {"lr": "fast"}}, "'training.lr' of the recipe is wrong:"),
        ({"name": "x", "training": {"steps": 1.5}}, "(found 1.5)."),
        (
            {"name": "x", "sparsity": {"kind": "topkk"}},
            "'sparsity.kind' of the recipe cannot be 'topkk'. Did you mean topk?",
        ),
        ({"name": "x", "sparsity": {"k": 3}}, "the recipe lacks 'sparsity.kind'"),
        ({"name": "x", "sparsity": {"kind": "topk"}}, "the recipe lacks 'sparsity.k'"),
        (
            {"name": "x", "sparsity": {"kind": "relu", "coeficient": 1}},
            "'sparsity.coeficient' is not an option of the recipe. Did you mean coefficient?",
        ),
    ],
)
def test_the_first_fault_is_one_sentence_in_the_recipes_own_words(values, sentence):
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        Example.from_mapping(values)


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError):
        Example(name="x").name = "y"  # pyright: ignore


def test_a_config_survives_toml(tmp_path):
    example = Example(name='quo"te\n', training=Training(lr=1 / 3), sparsity=Relu())
    (tmp_path / "a.toml").write_text(example.to_toml(), encoding="utf-8")
    again = Example.from_mapping(read_toml(tmp_path / "a.toml"))
    assert again == example
    assert again.digest() == example.digest()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no recipe at"), (b"a = ", "not a TOML"), (b"\xff", "not a TOML")]
)
def test_files_that_are_no_toml_say_so(tmp_path, content, words):
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        read_toml(path)


def test_defaults_count_as_if_written():
    assert Example(name="x").digest() == Example(name="x", training=Training(lr=1e-3)).digest()


class Deep(Config):
    inner: Training = Training(lr=2.0)
    other: float = 1.0


class Outer(Config):
    training: Training = Training(lr=5.0)
    deep: Deep = Deep(other=3.0)
    either: Training | Deep = Training(lr=7.0)


def test_a_table_keeps_what_the_default_of_its_place_changes():
    """Hand: `lr` is the 5 of the place and not the 1e-3 of the class, unless it is given."""
    assert Outer.from_mapping({"training": {}}) == Outer()
    assert Outer.from_mapping({"training": {"lr": 4.0}}).training.lr == 4.0
    found = Outer.from_mapping({"deep": {"inner": {}}})
    assert (found.deep.other, found.deep.inner.lr) == (3.0, 2.0)
    assert Outer.from_mapping({"deep": {"other": 9.0}}).deep.inner.lr == 2.0


def test_a_value_that_is_whole_is_taken_as_it_is():
    whole = Training(lr=1e-3)
    assert Outer(training=whole).training == whole
    assert Outer.from_mapping(Outer(training=whole).to_mapping()).training == whole


def test_a_union_is_left_alone():
    assert Outer.from_mapping({"either": {"other": 4.0}}).either == Deep(other=4.0)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), min_size=1))
def test_digests_ignore_order_and_see_every_change(values):
    assert digest_of(dict(reversed(values.items()))) == digest_of(values)
    key = next(iter(values))
    assert digest_of({**values, key: "another " + str(values[key])}) != digest_of(values)
    assert digest_of({k: v for k, v in values.items() if k != key}) != digest_of(values)


def test_digests_stay_what_they_are():
    assert digest_of({"a": 1}) == "015abd7f5cc57a2d"
