from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmscope.activations.config import StreamConfig
from lmscope.activations.layout import Layout
from lmscope.activations.sharing import Sharing
from lmscope.activations.stream import ActivationStream
from lmscope.core.errors import DataError, RecipeError, RunError, SiteError
from lmscope.core.mesh import Mesh
from lmscope.core.processes import Processes
from lmscope.core.rng import generator
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature

SITE = Site("resid_post", 1)
OPTIONS = StreamConfig(
    batch_tokens=16, block_contexts=8, forward_contexts=2, passes=2, calibration_tokens=40
)


def tokens_of(batch, layer=1):
    """(context, position) of each row, decoded from its value."""
    first = next(iter(batch.values.values()))[:, 0]
    numbers = (first.double().round().long() - 1 - layer).tolist()
    return [divmod(number, 1000) for number in numbers]


def same(a, b):
    return (
        a.values.keys() == b.values.keys()
        and all(torch.equal(a.values[s], b.values[s]) for s in a.values)
        and torch.equal(a.context, b.context)
        and torch.equal(a.position, b.position)
    )


def all_same(some, others):
    some, others = list(some), list(others)
    return len(some) == len(others) > 0 and all(map(same, some, others))


@pytest.fixture
def make(numbered_contexts, numbered_reader):
    def make(n=90, options=OPTIONS, sites=(SITE,), seed=1, reader=None, **more):
        reader = reader or numbered_reader()
        return ActivationStream(
            reader, numbered_contexts(n), sites, options=options, seed=seed, **more
        )

    return make


def naive_batches(contexts, options, seed, layer=1):
    """The documented order, written as lists of (context, position) that are consumed."""
    layout = Layout(len(contexts), options, seed)
    kept, share = contexts.kept(), options.batch_tokens // options.n_streams
    queues = []
    for stream in range(options.n_streams):
        queue = []
        for pass_index in range(options.passes):
            for block in layout.block_order(stream, pass_index):
                rows = [
                    (int(c), p)
                    for group in layout.block(stream, block)
                    for c in group
                    for p in range(contexts.context_length)
                    if (int(c), p) in kept
                ]
                number = layout.block_number(stream, block)
                draw = generator(seed, "order", pass_index, number)
                queue += [rows[i] for i in torch.randperm(len(rows), generator=draw).tolist()]
        queues.append(queue)
    while all(len(queue) >= share for queue in queues):
        yield [queue.pop(0) for queue in queues for _ in range(share)]


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(30, 80),
    n_streams=st.sampled_from([1, 2, 8]),
    forward=st.integers(1, 5),
    block=st.integers(1, 20),
    passes=st.integers(1, 3),
    share=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_batches_equal_a_naive_loop(
    numbered_contexts, numbered_reader, n, n_streams, forward, block, passes, share, seed
):
    options = StreamConfig(
        batch_tokens=share * n_streams,
        n_streams=n_streams,
        forward_contexts=forward,
        block_contexts=block,
        passes=passes,
        calibration_tokens=10,
        shuffle_window=17,
    )
    contexts = numbered_contexts(n)
    expected = list(naive_batches(contexts, options, seed))
    assume(expected)
    stream = ActivationStream(numbered_reader(), contexts, [SITE], options=options, seed=seed)
    found = list(stream)
    assert [tokens_of(batch) for batch in found] == expected
    assert stream.total_batches == len(expected)
    n_tokens = passes * len(contexts.kept())
    assert stream.n_dropped_tokens == n_tokens - len(expected) * options.batch_tokens
    for batch, places in zip(found, expected, strict=True):
        assert list(zip(batch.context.tolist(), batch.position.tolist(), strict=True)) == places


def test_excluded_positions_never_come(make, numbered_contexts):
    kept = numbered_contexts(90).kept()
    seen = [place for batch in make() for place in tokens_of(batch)]
    assert set(seen) <= kept
    assert all(position > 0 for _, position in seen)
    assert len(seen) == make().total_batches * OPTIONS.batch_tokens


def test_each_pass_gives_each_token_once(numbered_contexts, numbered_reader):
    """64 full contexts of 6: 5 kept each, 8 streams of 40 rows; batches of 8 * 5 divide it."""
    options = OPTIONS.model_copy(update={"batch_tokens": 40, "passes": 3})
    contexts = numbered_contexts(64, ragged=False)
    stream = ActivationStream(numbered_reader(), contexts, [SITE], options=options, seed=0)
    batches = [tokens_of(batch) for batch in stream]
    assert stream.n_dropped_tokens == 0
    passes = [[t for batch in batches[8 * p : 8 * p + 8] for t in batch] for p in range(3)]
    assert all(sorted(p) == sorted(contexts.kept()) for p in passes)
    assert passes[0] != passes[1] != passes[2]


def test_order_follows_the_seed(make):
    assert all_same(make(seed=4), make(seed=4))
    assert not all_same(make(seed=4), make(seed=5))


@pytest.fixture(scope="module")
def whole_run(numbered_contexts, numbered_reader):
    contexts = numbered_contexts(90)
    return list(ActivationStream(numbered_reader(), contexts, [SITE], options=OPTIONS, seed=1))


@settings(max_examples=12, deadline=None)
@given(at=st.integers(0, 16))
def test_resume_anywhere_gives_the_same_rest(numbered_contexts, numbered_reader, whole_run, at):
    stopped, resumed = (
        ActivationStream(numbered_reader(), numbered_contexts(90), [SITE], options=OPTIONS, seed=1)
        for _ in range(2)
    )
    assert len(whole_run) == 16
    for _ in range(at):
        next(stopped)
    resumed.load_state(stopped.state())
    rest = list(resumed)
    assert len(rest) == len(whole_run[at:])
    assert all(map(same, rest, whole_run[at:]))


def test_resume_reads_at_most_one_block_a_stream(make, numbered_reader):
    stopped = make()
    _ = stopped.calibration
    for _ in range(stopped.total_batches // 2):
        next(stopped)
    reader = numbered_reader()
    resumed = make(reader=reader)
    resumed.load_state(stopped.state())
    next(resumed)
    layout = Layout(90, OPTIONS, 1)
    assert 0 < len(reader.shapes) <= 8 * layout.groups_per_block + 8  # one more where one ended


@pytest.mark.parametrize("n_processes", [1, 2, 4, 8])
def test_processes_together_read_the_batches_of_one(make, n_processes):
    whole = list(make())
    ranks = [
        make(sharing=Sharing(Processes(Mesh(data=n_processes, rank=r)))) for r in range(n_processes)
    ]
    assert all(
        rank.calibration[SITE].mean_norm == ranks[0].calibration[SITE].mean_norm for rank in ranks
    )
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(torch.cat([p.values[SITE] for p in parts]), batch.values[SITE])
        assert torch.equal(torch.cat([p.context for p in parts]), batch.context)
        assert torch.equal(torch.cat([p.position for p in parts]), batch.position)


def test_state_of_four_processes_resumes_in_one(make):
    rank, whole = make(sharing=Sharing(Processes(Mesh(data=4, rank=3)))), list(make())
    for _ in range(7):
        next(rank)
    alone = make()
    alone.load_state(rank.state())
    assert all_same(alone, whole[7:])


def test_every_forward_pass_has_one_shape(make, numbered_reader):
    reader = numbered_reader()
    list(make(n=91, reader=reader))
    assert set(reader.shapes) == {(2, 6)}


def test_each_context_is_read_once_a_pass(make, numbered_reader):
    """90 contexts, 8 streams of ceil(90 / 16) = 6 groups each: 48 forward passes a pass."""
    reader = numbered_reader()
    stream = make(reader=reader)
    _ = stream.calibration
    list(stream)
    assert len(reader.shapes) <= 2 * 48


def test_many_sites_equal_each_alone(make):
    sites = [Site("resid_post", i) for i in (2, 0, 1)]
    for batch, *alone in zip(
        make(sites=sites), *(make(sites=[site]) for site in sites), strict=True
    ):
        assert list(batch.values) == sites
        for site, single in zip(sites, alone, strict=True):
            assert torch.equal(batch.values[site], single.values[site])


def test_many_sites_cost_one_forward_pass(make, numbered_reader):
    one, three = numbered_reader(), numbered_reader()
    list(make(reader=one))
    list(make(reader=three, sites=[Site("resid_post", i) for i in range(3)]))
    assert len(one.shapes) == len(three.shapes)


def test_two_models_give_aligned_rows(numbered_contexts, numbered_reader):
    sites = [Site("resid_post", 0, model="base"), Site("resid_post", 2, model="chat")]
    models = {"base": numbered_reader(), "chat": numbered_reader()}
    stream = ActivationStream(models, numbered_contexts(90), sites, options=OPTIONS, seed=1)
    batch = next(stream)
    base, chat = (batch.values[site][:, 0] for site in sites)
    assert torch.equal(base + 2, chat)
    assert stream.calibration.keys() == set(sites)


def test_site_of_no_model_and_unknown_site_are_errors(make, numbered_reader, numbered_contexts):
    with pytest.raises(SiteError, match=r"no site 'resid_post@9'"):
        make(sites=[Site("resid_post", 9)])
    with pytest.raises(SiteError, match="No site was asked for"):
        make(sites=[])
    with pytest.raises(SiteError, match=r"'chat.resid_post@1' is of no model of this stream"):
        make(sites=[Site("resid_post", 1, model="chat")])


def test_too_little_text_says_how_much_there_is(make, numbered_contexts):
    n = len(numbered_contexts(10).kept())
    with pytest.raises(DataError, match=f"10 contexts have {n} tokens that count.*batch of 800"):
        make(n=10, options=OPTIONS.model_copy(update={"batch_tokens": 800}))


def test_end_stays_the_end(make):
    stream = make()
    assert len(list(stream)) == stream.n_batches == stream.total_batches
    with pytest.raises(StopIteration):
        next(stream)


def test_state_of_another_text_seed_or_order_is_refused(make):
    state = make().state()
    with pytest.raises(RunError, match="saved with seed = 1, but here it is 2"):
        make(seed=2).load_state(state)
    with pytest.raises(RunError, match="saved with text = "):
        make(n=91).load_state(state)
    with pytest.raises(RunError, match="saved with block_contexts = 8"):
        make(options=OPTIONS.model_copy(update={"block_contexts": 4})).load_state(state)


def test_calibration_matches_a_naive_loop(make, numbered_contexts):
    contexts = numbered_contexts(90)
    layout, kept = Layout(90, OPTIONS, 1), contexts.kept()
    places = [
        (int(c), p)
        for stream, block in layout.first_pass()
        for group in layout.block(stream, block)
        for c in group
        for p in range(6)
        if (int(c), p) in kept
    ][: OPTIONS.calibration_tokens]
    rows = np.array([[1 + 1000 * c + p + 1, 1, 1] for c, p in places], dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1)
    found = make().calibration[SITE]
    assert (found.n_tokens, found.n_outliers) == (40, 0)
    assert found.mean_norm == pytest.approx(norms.mean(), rel=1e-6)
    assert found.median_norm == pytest.approx(np.sort(norms)[19], rel=1e-6)
    np.testing.assert_allclose(found.mean.numpy(), rows.mean(0), rtol=1e-6)


def test_calibration_costs_no_reading_and_changes_no_batch(make, numbered_reader):
    with_it, without = numbered_reader(), numbered_reader()
    stream = make(reader=with_it)
    _ = stream.calibration
    assert all_same(stream, make(reader=without))
    assert len(with_it.shapes) == len(without.shapes)


def test_resumed_stream_does_not_calibrate_again(make, numbered_reader):
    stream, reader = make(), numbered_reader()
    expected = stream.calibration[SITE]
    resumed = make(reader=reader)
    resumed.load_state(stream.state())
    found = resumed.calibration[SITE]
    assert reader.shapes == []
    assert (found.mean_norm, found.median_norm, found.n_tokens) == (
        expected.mean_norm,
        expected.median_norm,
        expected.n_tokens,
    )
    assert torch.equal(found.mean, expected.mean)


def test_batch_dtype_and_block_dtype_are_followed(make, numbered_reader):
    bf16 = numbered_reader(dtype=torch.bfloat16)
    assert next(make(reader=bf16)).values[SITE].dtype == torch.float32
    short = OPTIONS.model_copy(update={"batch_dtype": "bfloat16"})
    assert next(make(options=short)).values[SITE].dtype == torch.bfloat16
    held = OPTIONS.model_copy(update={"block_dtype": "bfloat16"})
    assert all_same(make(options=held), make(reader=bf16))
    assert not all_same(make(options=held), make())


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_stored_activations_give_the_same_batches(tmp_path, make, numbered_reader, kind):
    reader = numbered_reader()
    options = OPTIONS.model_copy(update={"store": kind, "passes": 3})
    folder = tmp_path if kind == "disk" else None
    plain = OPTIONS.model_copy(update={"passes": 3})
    assert all_same(make(options=options, store=folder, reader=reader), make(options=plain))
    assert len(reader.shapes) == 48  # the model was run in the first pass only


def test_disk_store_serves_another_run(tmp_path, make, numbered_reader):
    options = OPTIONS.model_copy(update={"store": "disk"})
    first = list(make(options=options, store=tmp_path))
    reader = numbered_reader()
    assert all_same(make(options=options, store=tmp_path, reader=reader), first)
    assert reader.shapes == []
    other = numbered_reader()
    other.weights_hash = "another"
    list(make(options=options, store=tmp_path, reader=other))
    assert len(other.shapes) == 48


def test_store_of_prepared_text_is_refused(make):
    options = OPTIONS.model_copy(update={"store": "memory"})
    with pytest.raises(RecipeError, match="none can be stored"):
        make(options=options, prepare=lambda batch, draw: batch)


def test_prepare_changes_what_is_read_and_is_reproducible(make):
    def shift(batch, draw):
        return replace(batch, tokens=batch.tokens + torch.randint(1, 9, (1,), generator=draw))

    assert all_same(make(prepare=shift), make(prepare=shift))
    for batch, plain in zip(make(prepare=shift), make(), strict=True):
        assert torch.equal(batch.context, plain.context)
        difference = batch.values[SITE][:, 0] - plain.values[SITE][:, 0]
        assert 1 <= difference.min() <= difference.max() <= 8


def test_read_ahead_gives_the_same_batches(make):
    ahead = OPTIONS.model_copy(update={"prefetch": True})
    assert all_same(make(options=ahead), make())
    stopped = make(options=ahead)
    for _ in range(5):
        next(stopped)
    resumed = make(options=ahead)
    resumed.load_state(stopped.state())
    assert all_same(resumed, list(make())[5:])
    stopped.load_state(stopped.state())  # what was read ahead is not lost
    assert all_same(stopped, list(make())[5:])
    resumed.close()


def test_error_while_reading_ahead_reaches_the_caller(make, numbered_reader):
    reader = numbered_reader()
    stream = make(options=OPTIONS.model_copy(update={"prefetch": True}), reader=reader)
    next(stream)

    def fails():
        raise DataError("unreadable")

    reader.at_read = fails
    with pytest.raises(DataError, match="unreadable"):
        list(stream)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_values_are_the_models_own(numbered_contexts, family):
    model = miniature(family)
    contexts = numbered_contexts(40, length=8)
    contexts.tokens = (contexts.tokens % 60 + 5).astype(np.int32)
    sites = [Site("mlp_out", 0), Site("resid_post", 1), Site("q", 1)]
    stream = ActivationStream(model, contexts, sites, options=OPTIONS, seed=0)
    everything = Batch(
        tokens=torch.from_numpy(contexts.tokens).long(), mask=torch.from_numpy(contexts.mask)
    )
    expected = model.read(everything, sites)
    batch = next(stream)
    for site in sites:
        found = batch.values[site]
        assert found.shape == (16, model.width(site))
        rows = expected[site].flatten(2)[batch.context, batch.position]
        torch.testing.assert_close(found, rows, rtol=1e-4, atol=1e-4)
