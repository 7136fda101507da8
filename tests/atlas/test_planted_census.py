"""The planted check: a corpus with known triggers, a dictionary made by hand, a naive full recomputation.

Whatever the tables compute in blocks, sorted keys and bounds is computed here again with loops over every
position, and must be equal, bit for bit where it is a sum of float32 numbers in one order.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmscope.atlas.config import CensusOptions
from lmscope.atlas.corpus import CorpusRows
from lmscope.atlas.logits import LogitEffects, logit_effects
from lmscope.atlas.record import histogram_edges
from lmscope.atlas.shards import Shard, ShardReader, write_shard
from lmscope.atlas.similar import Similar, coactive_latents, decoder_neighbours
from lmscope.atlas.stretches import CensusText
from lmscope.atlas.tables import Tables, records
from lmscope.core.rng import stream_seed
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.miniature import miniature

N_VOCAB, LENGTH, N_CONTEXTS, PADDED = 40, 22, 60, 15
ALONE, FIRST, SECOND, PAIR_ONLY = 7, 5, 3, 2
"""Planted: token 7; token 3 after token 5. Token 2 is what latents of no trigger never see."""
SINGLE, BIGRAM, EARLY, DENSE, DEAD, TWIN, STRONG = range(7)
N_LATENTS, WIDTH = 24, 32
OPTIONS = CensusOptions(
    n_top=4, n_intervals=3, n_each=2, n_silent=5, stretch=8, n_tokens=4, n_neighbours=5,
    coactivation_tokens=300,
)  # fmt: skip
SCALE = 0.37


@dataclass
class PlantedText:
    """A corpus in memory; the last context is padded, some contexts are written twice."""

    tokens_: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray
    digest: str = "planted"
    context_length: int = LENGTH
    n_contexts: int = N_CONTEXTS

    def rows(self, first: int, n: int) -> CorpusRows:
        part = slice(first, first + n)
        return CorpusRows(self.tokens_[part], np.arange(LENGTH)[None] < self.lengths[part, None])

    def document_numbers(self, positions: np.ndarray) -> np.ndarray:
        return self.documents.reshape(-1)[positions]


@pytest.fixture(scope="module")
def corpus() -> PlantedText:
    rng = np.random.default_rng(0)
    tokens = rng.integers(8, N_VOCAB, (N_CONTEXTS, LENGTH)).astype(np.int32)
    for trigger, n in ((ALONE, 90), (FIRST, 60), (SECOND, 60)):
        tokens.reshape(-1)[rng.choice(tokens.size, n, replace=False)] = trigger
    pairs = rng.choice(tokens.size // 4, 50, replace=False) * 4 + 1
    tokens.reshape(-1)[pairs], tokens.reshape(-1)[pairs + 1] = FIRST, SECOND
    tokens[20:26] = tokens[10:16]  # whole stretches with equal tokens, in other documents
    tokens[31, 8:16] = tokens[30, 8:16]  # one stretch with equal tokens, in another surrounding
    tokens[-1, PADDED:] = 0
    lengths = np.full(N_CONTEXTS, LENGTH)
    lengths[-1] = PADDED
    # Documents of 35 tokens run across contexts; those of odd number come back at the end.
    documents = (np.arange(tokens.size) // 35).reshape(tokens.shape).astype(np.int32)
    documents[50:] = documents[0:10]
    return PlantedText(tokens, lengths, documents)


@pytest.fixture(scope="module")
def counted(corpus) -> np.ndarray:
    """The first position of a context and padding do not count, and some others."""
    mask = np.arange(LENGTH)[None] < corpus.lengths[:, None]
    mask[:, 0] = False
    mask[4] = False  # a context in which nothing counts
    mask &= np.random.default_rng(1).random(mask.shape) > 0.03
    return mask


@pytest.fixture(scope="module")
def model():
    return miniature("gpt2")


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    """Reads [token now | token before | place]; writes what the model's stream would hold."""
    generator = torch.Generator().manual_seed(3)
    d_read = 2 * N_VOCAB + 1
    w_enc, b_enc = torch.zeros(N_LATENTS, d_read), torch.zeros(N_LATENTS)
    w_enc[SINGLE, ALONE], w_enc[SINGLE, -1] = 2.0, 0.01
    b_enc[SINGLE] = -0.5
    w_enc[BIGRAM, SECOND], w_enc[BIGRAM, N_VOCAB + FIRST] = 1.0, 1.0
    w_enc[BIGRAM, -1], b_enc[BIGRAM] = 0.01, -1.0 - 0.01 * LENGTH
    w_enc[EARLY, -1], b_enc[EARLY] = -1.0, 4.5
    w_enc[DENSE, -1], b_enc[DENSE] = 0.1, 1.0
    b_enc[DEAD] = -1.0
    w_enc[TWIN], b_enc[TWIN] = w_enc[SINGLE], b_enc[SINGLE]
    w_enc[STRONG, ALONE], w_enc[STRONG, FIRST] = 1.0, 1.0
    w_enc[7:] = torch.randn(N_LATENTS - 7, d_read, generator=generator)
    w_enc[7:, -1] = 0
    w_enc[7:, PAIR_ONLY] = 0
    b_enc[7:] = -torch.linspace(0.1, 3.0, N_LATENTS - 7)
    w_dec = torch.randn(N_LATENTS, WIDTH, generator=generator)
    w_dec[TWIN] = 3 * w_dec[SINGLE]
    w_dec[8:10] = w_dec[7]  # cosines of exactly 1, in a tie
    config = DictionaryConfig(
        n_latents=N_LATENTS,
        d_read=d_read,
        d_write=WIDTH,
        reads=["resid_post@0"],
        writes=["resid_post@1"],
        sparsity=ReLU(),
        normalisation="none",
    )
    tensors = {
        "W_enc": w_enc,
        "b_enc": b_enc,
        "W_dec": w_dec,
        "b_dec": torch.zeros(WIDTH),
        "scale_in": torch.tensor(1.0),
        "scale_out": torch.tensor(1.0),
    }
    return Dictionary.from_tensors(config, tensors)


@pytest.fixture(scope="module")
def activations(corpus, counted, dictionary) -> np.ndarray:
    """`[context, position, latent]`, 0 where a position does not count."""
    tokens = torch.from_numpy(corpus.tokens_).long()
    before = torch.roll(tokens, 1, dims=1)
    x = torch.zeros(N_CONTEXTS, LENGTH, 2 * N_VOCAB + 1)
    x.scatter_(2, tokens[..., None], 1.0)
    x[:, 1:].scatter_(2, N_VOCAB + before[:, 1:, None], 1.0)
    x[..., -1] = torch.arange(LENGTH).float()
    values = dictionary.encode(x).numpy()
    return np.where(counted[..., None], values, 0).astype(np.float32)


def spill(folder, activations, counted, contexts_per_shard) -> ShardReader:
    for first in range(0, N_CONTEXTS, contexts_per_shard):
        part = slice(first, first + contexts_per_shard)
        context, place, latent = activations[part].nonzero()
        position = (context + first) * LENGTH + place
        value = activations[part][context, place, latent]
        write_shard(folder, Shard.of(first, latent, position, value, counted[part]))
    return ShardReader(folder)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, activations, counted) -> ShardReader:
    return spill(tmp_path_factory.mktemp("shards"), activations, counted, 7)


@pytest.fixture(scope="module")
def similar(shards, dictionary) -> Similar:
    return Similar(
        decoder_neighbours(dictionary.W_dec, OPTIONS.n_neighbours),
        coactive_latents(shards, N_LATENTS, OPTIONS.n_neighbours, OPTIONS.coactivation_tokens),
    )


@pytest.fixture(scope="module")
def logits(model, dictionary) -> LogitEffects:
    return logit_effects(model, dictionary, SCALE, OPTIONS.n_tokens)


@pytest.fixture(scope="module")
def found(shards, corpus, similar, logits):
    return list(records(shards, corpus, similar, logits, OPTIONS, range(N_LATENTS)))


def ranked(pairs: dict[int, float], n: int) -> list[tuple[int, float]]:
    return sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:n]


class Naive:
    """One latent, position by position."""

    def __init__(self, latent, corpus, counted, activations):
        self.latent, self.corpus, self.counted = latent, corpus, counted
        self.values = activations[..., latent]
        self.firings = [
            (c, p, self.values[c, p])
            for c in range(N_CONTEXTS)
            for p in range(LENGTH)
            if self.values[c, p] > 0
        ]
        self.stretches = self.cut()

    def cut(self):
        """Start, tokens, activations and counted positions of every stretch."""
        parts = []
        for c in range(N_CONTEXTS):
            for p in range(0, LENGTH, OPTIONS.stretch):
                stop = min(p + OPTIONS.stretch, int(self.corpus.lengths[c]))
                parts.append(
                    (
                        c * LENGTH + p,
                        tuple(self.corpus.tokens_[c, p:stop].tolist()),
                        self.values[c, p:stop],
                        self.counted[c, p:stop],
                    )
                )
        return parts

    def firing_stretches(self):
        """By falling peak, then by position."""
        firing = [part for part in self.stretches if (part[2] > 0).any()]
        return sorted(firing, key=lambda part: (-float(part[2].max()), part[0]))

    def mean(self) -> float:
        total = 0.0
        for _, _, value in self.firings:
            total += float(value)
        return total / len(self.firings) if self.firings else 0.0

    def histogram(self) -> tuple[int, ...]:
        largest = float(self.values.max())
        edges = histogram_edges(largest)
        bins = [0] * 32
        for _, _, value in self.firings:
            bins[next(i for i in range(31, -1, -1) if value >= edges[i])] += 1
        return tuple(bins)

    def documents(self) -> Counter:
        return Counter(int(self.corpus.documents[c, p]) for c, p, _ in self.firings)

    def tokens(self) -> list[tuple[int, int, int]]:
        fired, seen = Counter(), Counter()
        for c in range(0, N_CONTEXTS, 2):  # the others are held out
            for p in range(LENGTH):
                token = int(self.corpus.tokens_[c, p])
                seen[token] += bool(self.counted[c, p])
                fired[token] += bool(self.values[c, p] > 0)
        pairs = ranked({t: n for t, n in fired.items() if n}, OPTIONS.n_tokens)
        return [(t, n, seen[t]) for t, n in pairs]

    def peak_tokens(self) -> list[tuple[int, float]]:
        peaks = Counter(tokens[int(a.argmax())] for _, tokens, a, _ in self.firing_stretches())
        return ranked({t: float(n) for t, n in peaks.items()}, OPTIONS.n_tokens)

    def groups(self):
        """(name, low, high, share, starts) of each group."""
        firing, seen, distinct = self.firing_stretches(), set(), []
        for part in firing:
            distinct.append(part[1] not in seen)
            seen.add(part[1])
        n = len(firing)
        if not n:
            return []
        peaks = [float(part[2].max()) for part in firing]
        top = [i for i in range(n) if distinct[i]][: OPTIONS.n_top]
        low = peaks[top[-1]]
        share = sum(peak >= low for peak in peaks) / n
        groups = [("top", low, peaks[0], share, [firing[i][0] for i in top])]
        k = OPTIONS.n_intervals
        for i in range(k):
            inside = list(range(i * n // k, (i + 1) * n // k))
            if inside:
                may = [r for r in inside if distinct[r]]
                ranks = draw(("interval", self.latent, i), len(may), OPTIONS.n_each)
                starts = [firing[may[r]][0] for r in ranks]
                groups.append(
                    ("quantile", peaks[inside[-1]], peaks[inside[0]], len(inside) / n, starts)
                )
        return groups

    def silent(self) -> list[int]:
        starts = [s for s, _, a, counts in self.stretches if counts.any() and not (a > 0).any()]
        return [starts[r] for r in draw(("silent", self.latent), len(starts), OPTIONS.n_silent)]


def mixed(x: int) -> int:
    m = 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % m
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % m
    return x ^ (x >> 31)


def draw(name: tuple, n_from: int, n: int) -> list[int]:
    """Floyd's algorithm with whole numbers of Python."""
    golden, m = 0x9E3779B97F4A7C15, 2**64
    key = stream_seed(0, "atlas", name[0])
    for part in name[1:]:
        key = mixed((key + golden * (part + 1)) % m)
    chosen: set[int] = set()
    for i in range(n):
        last = n_from - n + i
        if last >= 0:
            guess = mixed((key + golden * (i + 1)) % m) % (last + 1)
            chosen.add(last if guess in chosen else guess)
    return sorted(chosen)


@pytest.fixture(scope="module")
def naive(corpus, counted, activations):
    return [Naive(latent, corpus, counted, activations) for latent in range(N_LATENTS)]


def test_the_planted_corpus_is_a_census_text(corpus):
    assert isinstance(corpus, CensusText)


def test_counts_means_and_histograms_equal_a_naive_recomputation(found, naive, counted):
    for record, truth in zip(found, naive, strict=True):
        assert record.n_fired == len(truth.firings)
        assert record.density == len(truth.firings) / counted.sum()
        assert record.mean == truth.mean()
        assert record.max == float(truth.values.max())
        if truth.firings:
            assert record.histogram == truth.histogram()
        assert sum(record.histogram) == record.n_fired
        documents = truth.documents()
        assert record.n_documents == len(documents)
        share = max(documents.values(), default=0) / max(record.n_fired, 1)
        assert record.document_share == share


def test_tokens_of_firings_and_peaks_equal_a_naive_recomputation(found, naive):
    for record, truth in zip(found, naive, strict=True):
        assert [(t.token, t.n_fired, t.n_seen) for t in record.tokens] == truth.tokens()
        assert [(w.id, w.value) for w in record.peak_tokens] == truth.peak_tokens()


def test_example_groups_equal_a_naive_recomputation(found, naive):
    for record, truth in zip(found, naive, strict=True):
        assert record.n_stretches == len(truth.firing_stretches())
        got = [
            (group.name, group.low, group.high, group.share, [e.start for e in group.examples])
            for group in record.groups
        ]
        assert got == truth.groups()


def test_examples_hold_exactly_the_activations_of_their_stretch(found, naive):
    for record, truth in zip(found, naive, strict=True):
        at = {start: (tokens, values) for start, tokens, values, _ in truth.stretches}
        for example in (e for group in record.groups for e in group.examples):
            tokens, values = at[example.start]
            assert example.length == len(tokens)
            assert np.array_equal(example.activations(), values)
            assert example.peak == int(values.argmax())
            assert (np.diff(example.places) > 0).all()


def test_silent_stretches_equal_a_naive_recomputation(found, naive):
    assert [list(record.silent) for record in found] == [truth.silent() for truth in naive]


def test_logit_effects_equal_a_naive_recomputation(found, dictionary, model):
    norm = model.weights.norm("final")
    w_u = model.weights.W_U.double()
    d = dictionary.W_dec.double()
    effects = ((d - d.mean(1, keepdim=True)) * norm.gain.double() * SCALE) @ w_u
    for record, row in zip(found, effects.tolist(), strict=True):
        top = ranked(dict(enumerate(row)), OPTIONS.n_tokens)
        bottom = ranked({t: -v for t, v in enumerate(row)}, OPTIONS.n_tokens)
        assert [w.id for w in record.top_logits] == [t for t, _ in top]
        assert [w.id for w in record.bottom_logits] == [t for t, _ in bottom]
        assert [w.value for w in record.top_logits] == pytest.approx([v for _, v in top], rel=1e-6)
        lowest = [-v for _, v in bottom]
        assert [w.value for w in record.bottom_logits] == pytest.approx(lowest, rel=1e-6)


def test_neighbours_equal_a_naive_recomputation(found, dictionary):
    rows = dictionary.W_dec.double().numpy()
    for record in found:
        cosines = {}
        for other in range(N_LATENTS):
            if other != record.latent:
                a, b = rows[record.latent], rows[other]
                cosine = np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b))
                cosines[other] = round(float(cosine), 12)
        expected = ranked(cosines, OPTIONS.n_neighbours)
        assert [w.id for w in record.neighbours] == [who for who, _ in expected]
        values = [value for _, value in expected]
        assert [w.value for w in record.neighbours] == pytest.approx(values, rel=1e-6)


def test_coactive_latents_equal_a_naive_recomputation(found, activations, counted):
    places = np.flatnonzero(counted)
    n = min(OPTIONS.coactivation_tokens, len(places))
    chosen = [int(places[i * len(places) // n]) for i in range(n)]
    fires = activations.reshape(-1, N_LATENTS) > 0
    sets = defaultdict(set)
    for place in chosen:
        for latent in np.flatnonzero(fires[place]):
            sets[int(latent)].add(place)
    for record in found:
        mine, shares = sets[record.latent], {}
        for other in range(N_LATENTS):
            both = len(mine & sets[other])
            if other != record.latent and both:
                shares[other] = both / len(mine | sets[other])
        expected = ranked(shares, OPTIONS.n_neighbours)
        assert [w.id for w in record.coactive] == [who for who, _ in expected]
        values = [float(np.float32(value)) for _, value in expected]
        assert [w.value for w in record.coactive] == values


def test_each_planted_trigger_is_found(found, corpus, counted):
    single, bigram = found[SINGLE], found[BIGRAM]
    assert [t.token for t in single.tokens] == [ALONE]
    assert single.tokens[0].n_fired == single.tokens[0].n_seen
    assert single.peak_token == ALONE
    assert [t.token for t in bigram.tokens] == [SECOND]
    assert bigram.tokens[0].n_fired < bigram.tokens[0].n_seen
    for example in bigram.groups[0].examples:
        context, place = divmod(example.start + example.peak, LENGTH)
        assert corpus.tokens_[context, place - 1 : place + 1].tolist() == [FIRST, SECOND]
    assert found[DENSE].density == 1.0
    assert found[DENSE].silent == ()
    dead = found[DEAD]
    assert dead.is_dead
    assert (dead.max, dead.mean, dead.groups, dead.tokens, dead.coactive) == (0.0, 0.0, (), (), ())
    assert sum(dead.histogram) == 0
    assert len(dead.silent) == OPTIONS.n_silent
    assert (single.neighbours[0].id, single.coactive[0].id) == (TWIN, TWIN)
    assert single.coactive[0].value == 1.0
    assert found[EARLY].n_stretches == counted[:, :5].any(axis=1).sum()


def test_stretches_with_equal_tokens_are_one_example(found, naive):
    n_left_out = 0
    for record, truth in zip(found, naive, strict=True):
        tokens_at = {start: tokens for start, tokens, _, _ in truth.stretches}
        for group in record.groups:
            texts = [tokens_at[example.start] for example in group.examples]
            assert len(set(texts)) == len(texts)
        firing = [tokens for _, tokens, _, _ in truth.firing_stretches()]
        n_left_out += len(firing) - len(set(firing))
    assert n_left_out > 50  # the corpus does hold what is to be left out


def same(one, other) -> bool:
    """Equal in every number; arrays have no equality of their own."""
    plain = [
        [
            {**vars(r), "groups": None},
            [{**vars(g), "examples": None} for g in r.groups],
            [
                {**vars(e), "places": e.places.tolist(), "values": e.values.tolist()}
                for g in r.groups
                for e in g.examples
            ],
        ]
        for r in (one, other)
    ]
    return plain[0] == plain[1]


@pytest.mark.parametrize(
    ("contexts_per_shard", "firings_at_once"), [(1, 1), (60, 500), (13, 10**9)]
)
def test_shards_and_blocks_change_no_record(
    tmp_path, found, activations, counted, corpus, dictionary, logits, contexts_per_shard,
    firings_at_once,
):  # fmt: skip
    reader = spill(tmp_path, activations, counted, contexts_per_shard)
    tables = Tables(reader, corpus, OPTIONS, firings_at_once)
    parts = [range(9), range(9, 10), range(10, N_LATENTS)]
    again = []
    for part in parts:  # as if three processes shared the latents
        n, positions = OPTIONS.n_neighbours, OPTIONS.coactivation_tokens
        similar = Similar(
            decoder_neighbours(dictionary.W_dec, n, part),
            coactive_latents(reader, N_LATENTS, n, positions, part),
        )
        again += tables.records(similar, logits, part)
    assert [r.latent for r in again] == list(range(N_LATENTS))
    assert all(same(one, other) for one, other in zip(found, again, strict=True))
