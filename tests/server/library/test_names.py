"""Ids need no escaping in an address and name one thing each."""

import re

import pytest

from lmscope.server.library.names import as_id, model_id, unlike, with_digest


@pytest.mark.parametrize(
    "name", ["a/../b", "..", "../../etc/passwd", "", "a b", "%2e%2e", "ü", "<script>", "x" * 500]
)
def test_an_id_holds_nothing_that_an_address_could_misread(name):
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,159}", as_id(name))


def test_a_plain_name_stays_as_it_is():
    assert as_id("mlp_norm-7.to.mlp_out-7-64-topk-4") == "mlp_norm-7.to.mlp_out-7-64-topk-4"


def test_equal_names_are_told_apart_by_their_digests():
    assert with_digest("a b", "0123456789") == "a_b.01234567"
    assert with_digest("a", None) == "a"


def test_of_a_model_in_a_folder_only_the_last_name_shows():
    assert model_id("/home/someone/secret/model", "abcdef0123") == "model.abcdef01"
    assert model_id("owner/name", None) == "owner_name"


def test_a_name_that_is_taken_is_numbered():
    assert unlike("a", ["b"]) == "a"
    assert unlike("a", ["a", "a-2"]) == "a-3"
