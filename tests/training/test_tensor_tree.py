import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.training.tensor_tree import (
    Part,
    as_part,
    part_names,
    put_together,
    take_apart,
    take_part,
)

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
    assert equal(put_together(json.loads(json.dumps(values)), [found]), tree)


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


def test_parts_become_whole_again_in_their_order():
    whole = torch.arange(12.0).view(6, 2)
    trees = [{"w": Part(take_part(whole, i, 3), i, 3), "n": 1} for i in range(3)]
    taken = [take_apart(tree) for tree in trees]
    plain = json.loads(json.dumps(taken[0][0]))
    assert part_names(plain) == {"w"}
    found = put_together(plain, [tensors for _, tensors in taken])
    assert torch.equal(found["w"], whole)
    assert found["n"] == 1


def test_a_part_of_one_is_the_tensor_itself():
    rows = torch.ones(3)
    assert as_part(rows, 0, 1) is rows
    assert take_part(rows, 0, 1) is rows
