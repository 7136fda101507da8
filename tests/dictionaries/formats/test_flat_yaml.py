import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.formats.flat_yaml import flat_text, read_flat

texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-999, 999) | texts
keys = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)


@given(st.dictionaries(keys, scalars | st.lists(scalars, min_size=1, max_size=3), max_size=4))
def test_what_is_written_is_read(tmp_path, values):
    (tmp_path / "config.yaml").write_text(flat_text(values))
    assert read_flat(tmp_path / "config.yaml") == values


def test_quotes_comments_lists_and_words_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "---\n# a set\nmodel_name: google/gemma-2-2b  # plain\n"
        "model_kind: 'transcoder_set'\nscan: \"a: b # c\"\nk: 32\nscale: 0.5\n"
        "revision: null\nlazy: true\nempty:\nlayers: [0, 1]\ntranscoders:\n- a.safetensors\n"
        '  - "hf://b/c?revision=1"\n'
    )
    assert read_flat(path) == {
        "model_name": "google/gemma-2-2b",
        "model_kind": "transcoder_set",
        "scan": "a: b # c",
        "k": 32,
        "scale": 0.5,
        "revision": None,
        "lazy": True,
        "empty": None,
        "layers": [0, 1],
        "transcoders": ["a.safetensors", "hf://b/c?revision=1"],
    }


@pytest.mark.parametrize(
    "line",
    ["  nested: 1", "a: b: c", "just words", "a: &anchor b", "- item", "a: |", "k: 2", "x: {b: 1}"],
)
def test_what_is_not_flat_names_the_line(tmp_path, line):
    path = tmp_path / "config.yaml"
    path.write_text(f"k: 1\n{line}\n")
    with pytest.raises(ArtifactError, match=re.escape(f"Line 2 of '{path}'")):
        read_flat(path)


def test_written_texts_are_json():
    assert (
        flat_text({"a": "x: y", "b": ["é"]})
        == f"a: {json.dumps('x: y')}\nb:\n  - {json.dumps('é')}\n"
    )
