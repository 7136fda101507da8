"""Evidence keeps its two sides apart, and shows tokens as text."""

import numpy as np
import pytest

from lmscope.atlas.explain.evidence import evidence, read_case, show_tokens
from lmscope.atlas.record import is_held_out


class Bytes:
    """A corpus whose tokens are single bytes."""

    digest, context_length, n_contexts = "b" * 64, 64, 1

    def tokens(self, start, length):
        return np.arange(start, start + length, dtype=np.int32)

    def token_bytes(self, token):
        return bytes([token])

    def document(self, start):
        return None


@pytest.mark.parametrize("name", ["token", "digits", "bigram", "chance"])
def test_no_stretch_is_on_both_sides_and_none_is_lost(name, planted, planted_corpus):
    record = planted[name]
    sides = {
        side: evidence(record, planted_corpus, side, stretch=16) for side in ("open", "held_out")
    }
    for side, found in sides.items():
        for case in (*found.positives, *found.negatives):
            assert is_held_out(case.example.start, 64) == (side == "held_out")
    starts = {e.start for group in record.groups for e in group.examples}
    found = {case.example.start for one in sides.values() for case in one.positives}
    assert found == starts
    assert sum(len(one.negatives) for one in sides.values()) == len(record.silent)


def test_positives_fire_by_falling_peak_and_negatives_never(planted, planted_corpus):
    found = evidence(planted["set"], planted_corpus, "open", stretch=16)
    peaks = [case.example.max for case in found.positives]
    assert peaks == sorted(peaks, reverse=True)
    assert all(case.fires for case in found.positives)
    assert not any(case.fires for case in found.negatives)
    assert all(len(case.tokens) == len(case.texts) == 16 for case in found.negatives)


def test_hard_negatives_come_first(planted, planted_corpus):
    found = evidence(planted["topic"], planted_corpus, "open", stretch=16)
    commas = ["," in case.texts for case in found.negatives]
    assert commas == sorted(commas, reverse=True)
    assert 0 < sum(commas) < len(commas)


def test_a_silent_stretch_ends_with_its_context(planted, planted_corpus):
    found = evidence(planted["token"], planted_corpus, "open", stretch=40)
    lengths = {case.example.start % 64: len(case.tokens) for case in found.negatives}
    assert all(length == min(40, 64 - place) for place, length in lengths.items())
    assert min(lengths.values()) < 40


def test_a_character_of_several_tokens_stands_at_the_last_of_them():
    text = "aé€b"
    assert show_tokens(list(text.encode()), Bytes()) == ("a", "", "é", "", "", "€", "b")


def test_bytes_that_are_no_text_show_as_the_replacement_character():
    assert show_tokens([0x61, 0xFF, 0x62], Bytes()) == ("a", "\ufffd", "b")
    assert show_tokens([0x61, 0xE2, 0x82], Bytes()) == ("a", "", "\ufffd")


def test_a_case_that_is_read_is_silent():
    case = read_case(0x41, 3, Bytes())
    assert case.texts == ("A", "B", "C")
    assert not case.fires
