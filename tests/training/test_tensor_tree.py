import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.training.tensor_tree import put_together, take_apart

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
tensors = st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(torch.tensor)
trees = st.recursive(
    plain | tensors,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@given(trees)
def test_trees_come_back_through_json(tree):
    values, found = take_apart(tree, "root")
    assert equal(put_together(json.loads(json.dumps(values)), found), tree)


def test_names_say_where_a_tensor_was():
    _, found = take_apart({"a": [1, {"b": torch.ones(2)}], "c": torch.zeros(1)})
    assert found.keys() == {"a/1/b", "c"}


def test_tensors_are_copied():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    _, found = take_apart({"w": weight, "t": weight.T})
    with torch.no_grad():
        weight += 1
    assert found["w"].sum() == 0
    assert found["t"].is_contiguous()
    assert not found["w"].requires_grad


def test_anything_else_is_a_programming_error():
    with pytest.raises(TypeError, match="'a' is a set"):
        take_apart({"a": {1}})
    with pytest.raises(TypeError, match="key 1; keys are text"):
        take_apart({1: 2})
    with pytest.raises(TypeError, match="keys are text"):
        take_apart({"tensor:": 2})
