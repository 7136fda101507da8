import gc

import pytest
import torch

from lmscope.activations.config import StreamConfig
from lmscope.activations.memory import memory_bytes
from lmscope.activations.stream import ActivationStream
from lmscope.core.site import Site

SITES = [Site("resid_post", i) for i in (30, 50)]


@pytest.fixture
def live_bytes():
    """Bytes of every tensor storage that was made since the test began and is still alive."""
    gc.collect()
    gc.freeze()  # what is here already is no longer listed

    def count():
        storages = {
            item.untyped_storage().data_ptr(): item.untyped_storage().nbytes()
            for item in gc.get_objects()
            if issubclass(type(item), torch.Tensor)  # asking the item itself may warn
        }
        return sum(storages.values())

    yield count
    gc.unfreeze()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"store": "memory", "passes": 2},
        {"store": "memory", "store_bytes": 50_000},
        {"batch_dtype": "bfloat16", "block_dtype": "bfloat16"},
        {"batch_tokens": 800},
        {"calibration_tokens": 10},
    ],
)
def test_live_tensors_stay_below_the_bound(numbered_contexts, numbered_reader, live_bytes, changes):
    base = {"batch_tokens": 64, "block_contexts": 8, "forward_contexts": 4, "prefetch": False}
    options = StreamConfig.from_mapping({"calibration_tokens": 100, **base, **changes})
    reader = numbered_reader(n_layers=60)
    peak = 0

    def look():
        nonlocal peak
        peak = max(peak, live_bytes())

    reader.at_read = look
    contexts = numbered_contexts(260, length=10, ragged=False)
    stream = ActivationStream(reader, contexts, SITES, options=options, seed=0)
    _ = stream.calibration
    for n, _batch in enumerate(stream):
        if n % 8 == 0:
            look()
    bound = memory_bytes(
        options,
        n_contexts=260,
        context_length=10,
        widths=[reader.width(site) for site in SITES],
        model_bytes=4,
    )
    assert 0.3 * bound < peak <= bound


def test_owning_fewer_streams_takes_less():
    def bound(owned):
        options = StreamConfig(batch_tokens=64, calibration_tokens=100)
        return memory_bytes(
            options,
            n_contexts=1000,
            context_length=64,
            widths=[100],
            model_bytes=2,
            n_owned_streams=owned,
        )

    assert bound(2) < 0.5 * bound(8)


def test_the_default_of_the_docstring():
    """9 blocks of 64 * 256 tokens at 576 * 2 + 16 bytes are 172 MB, 3 batches of 4096 at
    576 * 4 + 16 are 29 MB, 3 forward passes of 16 * 256 at 576 * 2 are 14 MB: 215 MB."""
    options = StreamConfig(prefetch=False)
    found = memory_bytes(options, n_contexts=4096, context_length=256, widths=[576], model_bytes=2)
    assert round(found / 1e6) == 215
