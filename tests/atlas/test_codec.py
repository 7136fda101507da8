"""Records come back as they went in, at float16, and damaged ones are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.atlas.codec import RecordCodec, from_varints, same_record, scalars_of, varints
from lmscope.atlas.record import Example, LatentRecord
from lmscope.core.errors import ArtifactError

DEAD = LatentRecord(
    latent=3,
    n_fired=0,
    density=0.0,
    mean=0.0,
    max=0.0,
    histogram=(0,) * 32,
    n_stretches=0,
    n_documents=0,
    document_share=0.0,
    groups=(),
    silent=(),
    peak_tokens=(),
    tokens=(),
    top_logits=(),
    bottom_logits=(),
    neighbours=(),
    coactive=(),
)


@pytest.fixture
def codec() -> RecordCodec:
    return RecordCodec(context_length=20, stretch=8)


def read_back(codec: RecordCodec, record: LatentRecord) -> LatentRecord:
    return codec.decode(scalars_of(record), codec.encode(record))


def test_varints_take_seven_bits_a_byte():
    # 300 = 2 * 128 + 44, least significant first, all but the last byte with 128 added.
    assert varints(np.asarray([0, 127, 300])).tolist() == [0, 127, 44 + 128, 2]


@given(st.lists(st.integers(0, 2**63 - 1)))
def test_varints_come_back(values):
    packed = varints(np.asarray(values, dtype=np.int64))
    assert from_varints(packed).tolist() == values


def test_negative_numbers_and_cut_ones_are_refused():
    with pytest.raises(ValueError, match="-1 is negative"):
        varints(np.asarray([3, -1]))
    with pytest.raises(ValueError, match="cut off"):
        from_varints(np.asarray([44 + 128], dtype=np.uint8))
    with pytest.raises(ValueError, match="too long"):
        from_varints(np.asarray([255] * 9 + [1], dtype=np.uint8))


@given(st.integers(0, 10**6), st.floats(1e-12, 1e12))
def test_a_record_is_read_back_as_rounded(made_record, seed, scale):
    codec, record = RecordCodec(20, 8), made_record(seed, scale=scale)
    assert same_record(read_back(codec, record), RecordCodec.rounded(record))


def test_rounding_twice_is_rounding_once(made_record):
    once = RecordCodec.rounded(made_record(1))
    assert same_record(RecordCodec.rounded(once), once)
    assert not same_record(once, made_record(1))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_activations_of_any_size_keep_eleven_bits(codec, made_record, scale):
    record = made_record(2, scale=scale)
    for group, found in zip(record.groups, read_back(codec, record).groups, strict=True):
        for one, other in zip(group.examples, found.examples, strict=True):
            np.testing.assert_allclose(other.values, one.values, rtol=2**-11)
            assert other.places.tolist() == one.places.tolist()


def test_what_float16_holds_is_exact(codec, made_record):
    record = made_record(4)
    places = np.asarray([0, 2, 3], np.int32)
    exact = Example(24, 8, 3, places, np.asarray([0.5, 3.0, 1024.0], np.float32))
    record = replace(record, groups=(replace(record.groups[0], examples=(exact,)),))
    found = read_back(codec, record).groups[0].examples[0]
    assert found.values.tolist() == [0.5, 3.0, 1024.0]
    assert found.peak == 3


def test_a_dead_latent_comes_back(codec):
    assert same_record(read_back(codec, DEAD), DEAD)
    assert len(codec.encode(DEAD)) < 40


def test_the_short_stretch_at_the_end_of_a_context_keeps_its_length(codec, made_record):
    end = Example(36, 4, 1, np.asarray([1], np.int32), np.asarray([2.0], np.float32))
    record = made_record(5)
    record = replace(record, groups=(replace(record.groups[0], examples=(end,)),))
    assert read_back(codec, record).groups[0].examples[0].length == 4


def test_stretches_that_lie_anywhere_come_back_too(codec, made_record):
    odd = Example(33, 7, 1, np.asarray([1], np.int32), np.asarray([2.0], np.float32))
    record = made_record(5)
    record = replace(
        record, groups=(replace(record.groups[0], examples=(odd,)),), silent=(1, 2, 90)
    )
    assert same_record(read_back(codec, record), RecordCodec.rounded(record))


def test_a_value_that_is_no_number_is_refused(codec, made_record):
    record = made_record(6)
    record = replace(record, neighbours=(replace(record.neighbours[0], value=float("nan")),))
    with pytest.raises(ValueError, match="not finite"):
        codec.encode(record)


@given(st.data())
def test_a_damaged_blob_is_refused_or_differs_but_never_crashes(made_record, data):
    codec, record = RecordCodec(20, 8), made_record(7)
    blob = bytearray(codec.encode(record))
    at = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        del blob[at:]
    else:
        blob[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        codec.decode(scalars_of(record), bytes(blob))
    except ArtifactError:
        return


def test_a_cut_blob_names_its_latent(codec, made_record):
    blob = codec.encode(made_record(8))
    with pytest.raises(ArtifactError, match="record of latent 8 is damaged"):
        codec.decode(scalars_of(made_record(8)), blob[:-3])
