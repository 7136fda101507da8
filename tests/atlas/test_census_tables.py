"""Single records worked out by hand, the limits of what there is to choose from, and wrong input."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lmscope.atlas.config import CensusOptions
from lmscope.atlas.corpus import CorpusRows
from lmscope.atlas.logits import LogitEffects
from lmscope.atlas.ranked import Ranked
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.shards import Shard, ShardReader, write_shard
from lmscope.atlas.similar import Similar
from lmscope.atlas.stretches import Stretches
from lmscope.atlas.tables import records
from lmscope.core.errors import ArtifactError, DataError

LENGTH = 6


@dataclass
class Text:
    """Contexts of 6 tokens, of one document each; no padding unless said."""

    tokens: np.ndarray
    lengths: list[int] = field(default_factory=list)
    digest: str = "by hand"
    context_length: int = LENGTH

    @property
    def n_contexts(self) -> int:
        return len(self.tokens)

    def rows(self, first: int, n: int) -> CorpusRows:
        lengths = np.array(self.lengths or [LENGTH] * len(self.tokens))[first : first + n]
        tokens = np.asarray(self.tokens[first : first + n], dtype=np.int32)
        return CorpusRows(tokens, np.arange(LENGTH)[None] < lengths[:, None])

    def document_numbers(self, positions: np.ndarray) -> np.ndarray:
        return (positions // LENGTH).astype(np.int32)


def numbered(n_contexts: int) -> Text:
    """Every token another one."""
    return Text(np.arange(n_contexts * LENGTH).reshape(-1, LENGTH))


def shards_of(folder, firings, counted) -> ShardReader:
    """Shards from (latent, position, value)."""
    latent, position, value = zip(*firings, strict=True) if firings else ((), (), ())
    shard = Shard.of(
        0,
        np.array(latent, dtype=np.int64),
        np.array(position, dtype=np.int64),
        np.array(value, dtype=np.float32),
        counted,
    )
    write_shard(folder, shard)
    return ShardReader(folder)


def one_record(folder, text, firings, counted=None, **options) -> LatentRecord:
    """The record of latent 1, between two others that fire elsewhere or not at all."""
    counted = text.rows(0, text.n_contexts).mask if counted is None else counted
    nobody = Ranked.nothing(range(3))
    (record,) = records(
        shards_of(folder, firings, counted),
        text,
        Similar(nobody, nobody),
        LogitEffects(nobody, nobody),
        CensusOptions(**{"stretch": 3, **options}),
        range(1, 2),
    )
    return record


def starts(record: LatentRecord) -> list[tuple[str, list[int]]]:
    return [(group.name, [e.start for e in group.examples]) for group in record.groups]


def test_a_record_by_hand(tmp_path):
    # 3 contexts of 6 are 6 stretches of 3. Latent 1 fires in stretches 0 (1, then 4), 1 (2) and 5 (2).
    firings = [(1, 1, 1.0), (1, 2, 4.0), (1, 5, 2.0), (1, 16, 2.0), (0, 3, 9.0), (2, 3, 9.0)]
    record = one_record(
        tmp_path, numbered(3), firings, n_top=2, n_intervals=3, n_each=1, n_silent=9
    )
    assert (record.latent, record.n_fired, record.density) == (1, 4, 4 / 18)
    assert (record.mean, record.max) == (9 / 4, 4.0)
    # Bins of 10/32 octaves below 4: the edges 4 * 2^(-10 + 10 i / 32). 2 is between i = 28 (1.68)
    # and 29 (2.09), 1 between 25 (0.88) and 26 (1.09), 4 is the last edge and lies in the last bin.
    assert {i: n for i, n in enumerate(record.histogram) if n} == {25: 1, 28: 2, 31: 1}
    assert (record.n_stretches, record.n_documents, record.document_share) == (3, 2, 3 / 4)
    # Equal peaks: the earlier stretch stands first. Three intervals hold one stretch each.
    assert starts(record) == [
        ("top", [0, 3]),
        ("quantile", [0]),
        ("quantile", [3]),
        ("quantile", [15]),
    ]
    # Of `top` the share is 1, as the third stretch is as strong as the second.
    bounds = [(g.low, g.high, round(g.share, 6)) for g in record.groups]
    third = round(1 / 3, 6)
    assert bounds == [(2.0, 4.0, 1.0), (4.0, 4.0, third), (2.0, 2.0, third), (2.0, 2.0, third)]
    first = record.groups[0].examples[0]
    assert (first.length, first.peak, first.places.tolist()) == (3, 2, [1, 2])
    assert first.values.tolist() == [1.0, 4.0]
    assert record.silent == (6, 9, 12)
    assert [w.id for w in record.peak_tokens] == [2, 5, 16]
    # Context 1 is held out and so is no firing here; the others show each token once.
    assert [(t.token, t.n_fired, t.n_seen) for t in record.tokens] == [
        (1, 1, 1),
        (2, 1, 1),
        (5, 1, 1),
        (16, 1, 1),
    ]


def test_a_value_on_an_edge_of_the_histogram_lies_in_the_bin_above(tmp_path):
    # 1 is 5 octaves below 32: the edge between the first 16 bins and the last 16.
    record = one_record(tmp_path, numbered(3), [(1, 4, 1.0), (1, 9, 32.0)])
    assert {i: n for i, n in enumerate(record.histogram) if n} == {16: 1, 31: 1}


def test_held_out_contexts_count_for_everything_but_tokens(tmp_path):
    text = Text(np.full((4, LENGTH), 8))
    record = one_record(tmp_path, text, [(1, 0, 1.0), (1, 7, 1.0), (1, 12, 1.0)])
    assert record.n_fired == 3
    assert [(t.token, t.n_fired, t.n_seen) for t in record.tokens] == [(8, 2, 12)]
    assert [(w.id, w.value) for w in record.peak_tokens] == [(8, 3.0)]


def test_of_equal_stretches_the_strongest_is_the_example(tmp_path):
    # Stretches 0, 2 and 4 (positions 0, 6, 12) hold the same tokens.
    text = numbered(4)
    text.tokens[1:3, :3] = text.tokens[0, :3]
    firings = [(1, 1, 1.0), (1, 7, 3.0), (1, 13, 3.0), (1, 4, 2.0)]
    record = one_record(tmp_path, text, firings, n_top=4, n_intervals=2, n_each=4)
    # By peak: 6 (3.0), 12 (3.0), 3 (2.0), 0 (1.0); 12 and 0 repeat 6.
    assert starts(record) == [("top", [6, 3]), ("quantile", [6]), ("quantile", [3])]
    assert [group.share for group in record.groups] == [3 / 4, 1 / 2, 1 / 2]
    assert record.n_stretches == 4


def test_a_latent_that_fires_in_few_stretches_has_few_groups(tmp_path):
    record = one_record(tmp_path, numbered(3), [(1, 4, 1.0)], n_intervals=4)
    assert starts(record) == [("top", [3]), ("quantile", [3])]
    assert record.groups[1].share == 1.0


def test_latents_that_fire_in_the_same_stretch_only_are_kept_apart(tmp_path):
    text, nobody = numbered(3), Ranked.nothing(range(3))
    found = records(
        shards_of(tmp_path, [(0, 6, 1.0), (1, 7, 2.0), (2, 8, 3.0)], text.rows(0, 3).mask),
        text,
        Similar(nobody, nobody),
        LogitEffects(nobody, nobody),
        CensusOptions(stretch=3, n_intervals=0),
        range(3),
    )
    examples = [record.groups[0].examples for record in found]
    assert [[(e.start, e.places.tolist(), e.max) for e in part] for part in examples] == [
        [(6, [0], 1.0)],
        [(6, [1], 2.0)],
        [(6, [2], 3.0)],
    ]


def test_without_intervals_there_is_only_top(tmp_path):
    record = one_record(tmp_path, numbered(3), [(1, 4, 1.0), (1, 9, 2.0)], n_intervals=0)
    assert starts(record) == [("top", [9, 3])]


def test_a_dead_latent_has_silent_stretches_only(tmp_path):
    record = one_record(tmp_path, numbered(3), [(0, 4, 1.0)], n_silent=2)
    assert record.is_dead
    assert (record.groups, record.tokens, record.peak_tokens, record.n_documents) == ((), (), (), 0)
    assert len(record.silent) == 2
    assert record.histogram == (0,) * 32


def test_stretches_in_which_nothing_counts_are_not_drawn_as_silent(tmp_path):
    counted = np.ones((3, LENGTH), dtype=bool)
    counted[0, :3] = counted[2] = False
    record = one_record(tmp_path, numbered(3), [(1, 4, 1.0)], counted, n_silent=16)
    assert record.silent == (6, 9)
    assert record.density == 1 / 9


def test_the_last_stretch_of_a_padded_context_is_shorter(tmp_path):
    text = Text(np.arange(12).reshape(2, LENGTH), lengths=[6, 4])
    record = one_record(tmp_path, text, [(1, 9, 2.0)])
    (example,) = record.groups[0].examples
    assert (example.start, example.length, example.peak) == (9, 1, 0)
    assert example.activations().tolist() == [2.0]


def test_every_stretch_of_an_interval_is_drawn_equally_often(tmp_path):
    # 400 latents, each firing in the same 8 stretches with the same strengths: two intervals of 4.
    n_latents, text = 400, numbered(4)
    firings = [(i, 3 * j, 9.0 - j) for i in range(n_latents) for j in range(8)]
    nobody = Ranked.nothing(range(n_latents))
    found = records(
        shards_of(tmp_path, firings, text.rows(0, 4).mask),
        text,
        Similar(nobody, nobody),
        LogitEffects(nobody, nobody),
        CensusOptions(stretch=3, n_top=1, n_intervals=2, n_each=1),
        range(n_latents),
    )
    drawn = np.array([[g.examples[0].start // 3 for g in r.groups[1:]] for r in found])
    counts = [np.bincount(column, minlength=8) for column in drawn.T]
    assert counts[0][4:].sum() == counts[1][:4].sum() == 0
    # 100 expected each; four standard deviations are 35.
    assert abs(counts[0][:4] - 100).max() < 35
    assert abs(counts[1][4:] - 100).max() < 35


def test_equal_stretches_are_found_and_hold_their_first(tmp_path):
    text = Text(np.array([[1, 2, 3, 1, 2, 3], [1, 2, 0, 1, 2, 3]]), lengths=[6, 2])
    cut = Stretches.of(text, text.rows(0, 2).mask, 3)
    assert cut.first_equal[:2].tolist() == [0, 0]
    assert cut.has_equal[:2].all()
    assert cut.first_equal[2] == 2  # 1 2 and padding is not 1 2 0
    assert cut.length.tolist() == [3, 3, 2, 0]
    assert cut.eligible.tolist() == [0, 1, 2]


def test_a_stretch_longer_than_a_context_is_the_context():
    text = numbered(2)
    cut = Stretches.of(text, text.rows(0, 2).mask, 64)
    assert cut.length.tolist() == [6, 6]
    assert cut.start(np.arange(2)).tolist() == [0, 6]
    assert cut.number(np.array([5, 6])).tolist() == [0, 1]


def test_shards_of_another_corpus_are_refused(tmp_path):
    counted = np.ones((3, LENGTH), dtype=bool)
    with pytest.raises(
        ArtifactError, match="cover 3 contexts of 6 positions, the corpus has 2 of 6"
    ):
        one_record(tmp_path, numbered(2), [(1, 4, 1.0)], counted)
    padded = Text(np.arange(18).reshape(3, LENGTH), lengths=[6, 6, 2])
    with pytest.raises(ArtifactError, match="at which the corpus has no text"):
        one_record(tmp_path, padded, [(1, 4, 1.0)], counted)


def test_a_corpus_in_which_nothing_counts_is_refused(tmp_path):
    with pytest.raises(DataError, match="Not one position of 2 contexts counts"):
        one_record(tmp_path, numbered(2), [], np.zeros((2, LENGTH), dtype=bool))
