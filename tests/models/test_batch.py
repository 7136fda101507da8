import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.models.batch import Batch, Cache


def test_positions_count_the_text_of_each_row():
    mask = torch.tensor([[False, False, True, True], [True, True, True, False]])
    batch = Batch(tokens=torch.zeros(2, 4, dtype=torch.long), mask=mask)
    assert batch.absolute_positions().tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
    assert batch.n_tokens == 5


def test_positions_go_on_from_a_cache():
    seen = Cache(None, torch.ones(2, 3, dtype=torch.bool), torch.tensor([3, 1]), step=1)
    batch = Batch(tokens=torch.zeros(2, 2, dtype=torch.long), cache=seen)
    assert batch.absolute_positions().tolist() == [[3, 4], [1, 2]]


def test_given_positions_and_rows_stand():
    batch = Batch(
        tokens=torch.zeros(1, 2, dtype=torch.long),
        positions=torch.tensor([[7, 8]]),
        rows=torch.tensor([42]),
    )
    assert batch.absolute_positions().tolist() == [[7, 8]]
    assert batch.row_ids().tolist() == [42]
    assert Batch(tokens=torch.zeros(3, 1, dtype=torch.long)).row_ids().tolist() == [0, 1, 2]


def test_embeds_stand_in_for_tokens():
    batch = Batch(embeds=torch.zeros(2, 3, 8))
    assert batch.shape == (2, 3)
    assert batch.n_tokens == 6
    assert batch.text_mask().all()


def test_moving_keeps_every_field():
    batch = Batch(tokens=torch.zeros(1, 2, dtype=torch.long), rows=torch.tensor([5]))
    moved = batch.to("meta")
    assert moved.tokens is not None
    assert moved.tokens.device.type == "meta"
    assert moved.rows is not None
    assert moved.rows.device.type == "meta"
    assert moved.mask is None


def test_wrong_batches_are_refused():
    tokens = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ModelError, match="exactly one"):
        Batch()
    with pytest.raises(ModelError, match="exactly one"):
        Batch(tokens=tokens, embeds=torch.zeros(2, 3, 8))
    with pytest.raises(Exception, match=r"mask"):
        Batch(tokens=tokens, mask=torch.ones(2, 4, dtype=torch.bool))
    seen = Cache(None, torch.ones(1, 3, dtype=torch.bool), torch.tensor([3]), step=1)
    with pytest.raises(ModelError, match="cannot continue a cache of 1 rows"):
        Batch(tokens=tokens, cache=seen)
