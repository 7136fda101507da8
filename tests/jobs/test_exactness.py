"""Stopped and resumed equals never stopped; together equals alone: bit for bit, through the job."""

import pytest

from lmscope.jobs.train import train

ONE = {"training.steps": 200}
SHORT = {"training.steps": 40}
THREE = {
    **ONE,
    "dictionary.sites": ["resid_post@1", "mlp_out@0"],
    "dictionary.transcoders": [["mlp_in@1", "mlp_out@1"]],
    "dictionary.n_latents": [48],
}
"""Two SAEs and a transcoder."""
EIGHT = {
    "training.steps": 40,
    "dictionary.sites": ["resid_post@1", "mlp_out@0"],
    "dictionary.n_latents": [32, 48],
    "dictionary.sparsity": [{"kind": "batchtopk", "k": 4}, {"kind": "jumprelu"}],
    "dictionary.objective": {"auxiliary": {}, "dead_after_tokens": 300},
    "evaluation.tokens": 0,
}
"""Every site with every width and sparsity."""


@pytest.mark.parametrize(
    ("changes", "stop"),
    [(ONE, 100), (SHORT, 17), (THREE, 100), (EIGHT, 20)],
    ids=["one", "one-between-two-lines-of-metrics", "three", "eight"],
)
def test_resumed_equals_uninterrupted(recipe, tmp_path, interrupted, content, changes, stop):
    wanted = recipe(**changes)
    whole = train(wanted, root=tmp_path / "whole")
    half = interrupted(wanted, tmp_path / "halves", stop)
    assert [path.name for path in half.checkpoints.iterdir()] == [f"step-{stop:08d}"]
    resumed = train(wanted, root=tmp_path / "halves", resume=half.path)
    assert resumed.record.n_resumed == 1
    found, expected = content(resumed), content(whole)
    # The resumed run also keeps the checkpoint that it went on from.
    assert found.pop(f"checkpoints/step-{stop:08d}")
    assert found == expected


def test_stopped_twice_equals_uninterrupted(recipe, tmp_path, interrupted, content, stop_at):
    wanted = recipe(**{"training.checkpoint.keep": 1})
    whole = train(wanted, root=tmp_path / "whole")
    half = interrupted(wanted, tmp_path / "halves", 7)
    with pytest.raises(KeyboardInterrupt):
        train(wanted, root=tmp_path / "halves", resume=half.path, listeners=[stop_at(19)])
    assert content(train(wanted, root=tmp_path, resume=half.path)) == content(whole)


@pytest.mark.parametrize("changes", [THREE, EIGHT], ids=["three", "eight"])
def test_together_equals_alone(recipe, tmp_path, content, changes):
    changes = {**changes, **SHORT, "evaluation.tokens": 0}
    together = train(recipe(**changes), root=tmp_path / "together")
    found = content(together)
    alone = list(_alone(changes))
    assert len(alone) == len(list((together.artifacts / "dictionaries").iterdir()))
    for i, one in enumerate(alone):
        run = train(recipe(**one), root=tmp_path / f"alone-{i}")
        (name,) = (path.name for path in (run.artifacts / "dictionaries").iterdir())
        place = f"artifacts/dictionaries/{name}"
        assert content(run)[place] == found[place]


def _alone(changes):
    """The same recipe for each of its dictionaries."""
    pairs = [{"dictionary.sites": [site]} for site in changes["dictionary.sites"]]
    pairs += [
        {"dictionary.sites": [], "dictionary.transcoders": [pair]}
        for pair in changes.get("dictionary.transcoders", [])
    ]
    for pair in pairs:
        for width in changes["dictionary.n_latents"]:
            for sparsity in changes.get("dictionary.sparsity", [{"kind": "topk", "k": 4}]):
                yield {
                    **{k: v for k, v in changes.items() if k != "dictionary.transcoders"},
                    **pair,
                    "dictionary.n_latents": [width],
                    "dictionary.sparsity": [sparsity],
                }
