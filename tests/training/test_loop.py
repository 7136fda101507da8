import shutil

import pytest
import torch

from lmscope.core.errors import ArtifactError, DataError, RecipeError, RunError
from lmscope.training import checkpoint as checkpoint_module
from lmscope.training.checkpoint import Checkpoints
from lmscope.training.config import CheckpointConfig, ScheduleConfig, TrainingConfig
from lmscope.training.loop import fit
from lmscope.training.objective import Loss, Objective, ParameterGroup, Stream
from lmscope.training.trainee import Trainee

STEPS = 200
OPTIONS = TrainingConfig(steps=STEPS, lr=0.01)


def weights(objective):
    return torch.cat([objective.weight.detach().flatten(), objective.bias.detach()])


def trained(objectives, stream, recorder, options=OPTIONS, **more):
    more = {"checkpoints": None, "seed": 3, **more}
    return fit(objectives, stream, options, listener=recorder, **more)


def test_toys_satisfy_the_protocols(toy_objective, toy_stream):
    assert isinstance(toy_objective(), Objective)
    assert isinstance(toy_stream(), Stream)


def test_training_lowers_the_loss(toy_objective, toy_stream, recorder):
    trained([toy_objective(noise=0.0)], toy_stream(), recorder)
    first, last = recorder.metrics[0][1], recorder.metrics[-1][1]
    assert last["toy/loss"] < 0.5 * first["toy/loss"]
    assert last["toy/mse"] == pytest.approx(last["toy/loss"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_together_equals_alone_bit_for_bit(toy_objective, toy_stream, recorder, accumulate):
    options = TrainingConfig(steps=30, lr=0.01, accumulate=accumulate)
    names = ["a", "b", "c"]
    together = [toy_objective(name, noise=0.1 * i) for i, name in enumerate(names)]
    trained(together, toy_stream(), recorder, options)
    for i, name in enumerate(names):
        alone = toy_objective(name, noise=0.1 * i)
        trained([alone], toy_stream(), recorder, options)
        assert torch.equal(weights(alone), weights(together[i]))
    assert not torch.equal(weights(together[1]), weights(together[2]))


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path, toy_objective, toy_stream, stop_after, recorder, names, accumulate
):
    options = TrainingConfig(steps=STEPS, lr=0.01, accumulate=accumulate)
    whole = [toy_objective(name) for name in names]
    trained(whole, toy_stream(), recorder, options)

    checkpoints = Checkpoints(tmp_path)
    half = [toy_objective(name) for name in names]
    outcome = trained(
        half,
        toy_stream(),
        recorder,
        options,
        checkpoints=checkpoints,
        stop=stop_after(100, recorder),
    )
    assert (outcome.steps, outcome.interrupted) == (100, True)
    rest = [toy_objective(name) for name in names]
    torch.manual_seed(99)  # whatever the new process did before does not matter
    outcome = trained(
        rest,
        toy_stream(),
        recorder,
        options,
        checkpoints=checkpoints,
        resume=checkpoints.latest(),
    )
    assert (outcome.steps, outcome.interrupted) == (STEPS, False)
    for a, b, stopped in zip(whole, rest, half, strict=True):
        assert torch.equal(weights(a), weights(b))
        assert not torch.equal(weights(a), weights(stopped))
        assert a.steps_seen == b.steps_seen == STEPS


def test_accumulated_step_equals_one_large_batch(toy_objective, toy_stream, recorder):
    class Merged(toy_stream):
        def __next__(self):
            return torch.cat([super(Merged, self).__next__() for _ in range(4)])

    base = {"steps": 20, "lr": 0.01}
    cut, merged = toy_objective(noise=0.0), toy_objective(noise=0.0)
    trained([cut], toy_stream(), recorder, TrainingConfig(**base, accumulate=4))
    trained([merged], Merged(), recorder, TrainingConfig(**base))
    torch.testing.assert_close(weights(cut), weights(merged), rtol=1e-4, atol=1e-5)
    first_of_each = [m["toy/mse"] for step, m in recorder.metrics if step == 1]
    assert first_of_each[0] == pytest.approx(first_of_each[1], rel=1e-5)


def seen_by_adam(trainee):
    """The gradient that the first step of Adam saw: 1 - 0.9 of it is its first moment."""
    moments = trainee.optimiser.state()["moments"].values()
    return torch.cat([moment["exp_avg"].flatten() for moment in moments]) / (1 - 0.9)


def test_accumulation_weighs_unequal_micro_batches(recorder):
    """Sums 1*w and 6*w over weights 1 and 3: gradient (1 + 6) / 4, not (1/1 + 6/3) / 2."""

    class Unequal:
        name, batch_coupled = "unequal", False

        def __init__(self):
            self.w = torch.nn.Parameter(torch.zeros(()))

        def parameter_groups(self):
            return [ParameterGroup({"w": self.w})]

        def batches(self, stream):
            return iter([(1.0, 1), (6.0, 3)])

        def loss(self, batch, step):
            return Loss(self.w * batch[0], batch[1], {"value": torch.tensor(batch[0] / batch[1])})

        def after_step(self, step):
            pass

        def state(self):
            return {}

        def load_state(self, state):
            pass

    options = TrainingConfig(accumulate=2, gradient_clip=0.0)
    objective = Unequal()
    trainee = Trainee(objective, options, 0, iter([]))
    assert trainee.backward(0)
    assert trainee.backward(0)
    trainee.step(0, lr=0.0)
    assert seen_by_adam(trainee).item() == pytest.approx(1.75)
    assert trainee.metrics()["value"] == pytest.approx(7 / 4)
    assert not trainee.backward(0)


def test_gradient_clip_bounds_the_global_norm(toy_objective, toy_stream):
    stream = toy_stream()
    for clip in (0.25, 1e6):
        objective = toy_objective(noise=1.0)
        trainee = Trainee(objective, TrainingConfig(gradient_clip=clip), 0, iter([next(stream)]))
        trainee.backward(0)
        raw = torch.cat([g.flatten() for g in trainee.optimiser.gradients()]) / 8
        trainee.step(0, lr=0.0)
        clipped = seen_by_adam(trainee)
        expected = raw * min(1.0, clip / raw.norm())
        torch.testing.assert_close(clipped, expected, rtol=1e-4, atol=1e-6)


def test_batch_coupled_objective_refuses_accumulation(toy_objective, toy_stream, recorder):
    options = TrainingConfig(steps=2, accumulate=2)
    with pytest.raises(RecipeError, match=r"'toy' couples .* set training.accumulate to 1"):
        trained([toy_objective(coupled=True)], toy_stream(), recorder, options)


@pytest.mark.parametrize("name", ["../up", "", "a b", ".hidden"])
def test_objective_name_must_name_a_file(toy_objective, toy_stream, recorder, name):
    with pytest.raises(RecipeError, match="cannot name an objective"):
        trained([toy_objective(name)], toy_stream(), recorder)


def test_equal_names_and_no_objectives_are_refused(toy_objective, toy_stream, recorder):
    with pytest.raises(RecipeError, match="Two objectives are called 'toy'"):
        trained([toy_objective(), toy_objective()], toy_stream(), recorder)
    with pytest.raises(RecipeError, match="no objective"):
        trained([], toy_stream(), recorder)


def test_shared_parameter_is_refused(toy_objective, toy_stream, recorder):
    a, b = toy_objective("a"), toy_objective("b")
    b.bias = a.bias
    with pytest.raises(RecipeError, match="'a' and 'b' train the same parameter"):
        trained([a, b], toy_stream(), recorder)


def test_non_finite_loss_names_objective_step_and_checkpoint(
    tmp_path, toy_objective, toy_stream, recorder
):
    class Breaks(toy_objective):
        def loss(self, batch, step):
            sound = super().loss(batch, step)
            return sound._replace(sum=sound.sum * float("nan")) if step == 7 else sound

    options = TrainingConfig(steps=20, checkpoint=CheckpointConfig(every_steps=5))
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(RunError, match=r"'bad' is not a finite number at step 7.*step-00000005"):
        trained(
            [toy_objective("good"), Breaks("bad")],
            toy_stream(),
            recorder,
            options,
            checkpoints=checkpoints,
        )
    assert checkpoints.latest().step == 5


def test_disk_full_at_a_checkpoint_keeps_the_older_one(
    tmp_path, toy_objective, toy_stream, recorder, monkeypatch
):
    write = checkpoint_module.write_tensors
    n_written = 0

    def fills_up(path, tensors):
        nonlocal n_written
        n_written += 1
        if n_written > 3:
            raise OSError(28, "No space left on device")
        write(path, tensors)

    monkeypatch.setattr(checkpoint_module, "write_tensors", fills_up)
    options = TrainingConfig(steps=20, checkpoint=CheckpointConfig(every_steps=5))
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(ArtifactError, match="disk is full"):
        trained([toy_objective()], toy_stream(), recorder, options, checkpoints=checkpoints)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]
    assert checkpoints.latest().step == 5


def test_steps_are_derived_from_the_stream(toy_objective, toy_stream, recorder):
    outcome = trained(
        [toy_objective()], toy_stream(total=11), recorder, TrainingConfig(accumulate=2)
    )
    assert outcome.steps == 5
    with pytest.raises(RecipeError, match="give training"):
        trained([toy_objective()], toy_stream(known=False), recorder, TrainingConfig())
    with pytest.raises(DataError, match="needs 4 batches, but the stream has 3"):
        trained([toy_objective()], toy_stream(total=3), recorder, TrainingConfig(accumulate=4))


def test_short_stream_is_refused_at_the_first_step(toy_objective, toy_stream, recorder):
    stream = toy_stream(total=50)
    with pytest.raises(DataError, match=r"200 batches, but the stream has 50.*steps to 50"):
        trained([toy_objective()], stream, recorder)
    assert stream.at == 1


def test_stream_that_ends_unannounced_says_where(toy_objective, toy_stream, recorder):
    with pytest.raises(DataError, match="ended at step 50 of 200"):
        trained([toy_objective()], toy_stream(total=50, known=False), recorder)


def test_checkpoints_come_by_steps_and_at_the_end(tmp_path, toy_objective, toy_stream, recorder):
    options = TrainingConfig(steps=12, checkpoint=CheckpointConfig(every_steps=5, keep=9))
    checkpoints = Checkpoints(tmp_path, keep=9)
    outcome = trained([toy_objective()], toy_stream(), recorder, options, checkpoints=checkpoints)
    assert [fields["step"] for event, fields in recorder.events] == [5, 10, 12]
    assert outcome.checkpoint == checkpoints.paths()[-1]


def test_checkpoints_come_by_minutes(tmp_path, toy_objective, toy_stream, recorder, monkeypatch):
    now = iter(range(0, 10**6, 40))  # each look at the clock is 40 s later
    monkeypatch.setattr("lmscope.training.loop.time.monotonic", lambda: next(now))
    options = TrainingConfig(steps=6, checkpoint=CheckpointConfig(every_minutes=1))
    checkpoints = Checkpoints(tmp_path, keep=9)
    trained([toy_objective()], toy_stream(), recorder, options, checkpoints=checkpoints)
    steps = [fields["step"] for event, fields in recorder.events]
    assert 1 < len(steps) < 6
    assert steps[-1] == 6


def test_listener_hears_progress_and_metrics(toy_objective, toy_stream, recorder):
    options = TrainingConfig(steps=25, log_every=10, schedule=ScheduleConfig(decay="constant"))
    trained([toy_objective("a"), toy_objective("b")], toy_stream(), recorder, options)
    assert [step for step, _ in recorder.metrics] == [1, 10, 20, 25]
    assert recorder.metrics[-1][1].keys() == {"a/loss", "a/mse", "b/loss", "b/mse", "lr"}
    assert recorder.metrics[-1][1]["lr"] == options.lr
    assert [done for _, done, _, _ in recorder.progress] == list(range(1, 26))
    phase, _, total, fields = recorder.progress[-1]
    assert (phase, total) == ("train", 25)
    assert fields.keys() == {"tokens_per_s", "loss", "mse"}
    assert fields["tokens_per_s"] > 0


def test_listening_never_changes_the_result(toy_objective, toy_stream, recorder):
    often, seldom = toy_objective(), toy_objective()
    trained([often], toy_stream(), recorder, TrainingConfig(steps=20, log_every=1))
    trained([seldom], toy_stream(), recorder, TrainingConfig(steps=20, log_every=20))
    assert torch.equal(weights(often), weights(seldom))


def test_random_numbers_go_on_and_follow_seed_and_name(toy_objective, toy_stream, recorder):
    class Draws(toy_objective):
        def loss(self, batch, step):
            drawn.append(torch.rand(()).item())
            return super().loss(batch, step)

    drawn: list[float] = []
    options = TrainingConfig(steps=2)
    for names, seed in ((["a", "b"], 3), (["a"], 4), (["b", "a"], 3)):
        trained([Draws(name) for name in names], toy_stream(), recorder, options, seed=seed)
    first, other_seed, swapped = drawn[:4], drawn[4:6], drawn[6:]
    assert len({*first, *other_seed}) == 6
    assert swapped == [first[1], first[0], first[3], first[2]]


def test_training_leaves_the_global_random_state_alone(toy_objective, toy_stream, recorder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained([toy_objective()], toy_stream(), recorder, TrainingConfig(steps=3))
    assert torch.equal(before, torch.get_rng_state())


def test_resume_with_other_objectives_or_shapes_is_refused(
    tmp_path, toy_objective, toy_stream, recorder
):
    checkpoints = Checkpoints(tmp_path)
    options = TrainingConfig(steps=3)
    trained([toy_objective("a")], toy_stream(), recorder, options, checkpoints=checkpoints)
    saved = checkpoints.latest()
    with pytest.raises(RunError, match=r"\['a'\], but this recipe trains \['b'\]"):
        trained([toy_objective("b")], toy_stream(), recorder, options, resume=saved)
    with pytest.raises(RunError, match="for 2 steps"):
        trained([toy_objective("a")], toy_stream(), recorder, TrainingConfig(steps=2), resume=saved)
    other = toy_objective("a")
    other.bias = torch.nn.Parameter(torch.zeros(5))
    with pytest.raises(RunError, match=r"checkpoint of 'a' holds .*'bias': \(3,\)"):
        trained([other], toy_stream(), recorder, options, resume=saved)


def test_resume_from_the_end_does_nothing_more(tmp_path, toy_objective, toy_stream, recorder):
    checkpoints = Checkpoints(tmp_path)
    options = TrainingConfig(steps=3)
    done = toy_objective()
    trained([done], toy_stream(), recorder, options, checkpoints=checkpoints)
    again, stream = toy_objective(), toy_stream()
    outcome = trained(
        [again], stream, recorder, options, checkpoints=checkpoints, resume=checkpoints.latest()
    )
    assert outcome.steps == 3
    assert torch.equal(weights(done), weights(again))
    assert stream.at == 3


def test_resume_from_an_older_checkpoint_gives_the_same_end(
    tmp_path, toy_objective, toy_stream, recorder
):
    checkpoints = Checkpoints(tmp_path, keep=3)
    options = TrainingConfig(steps=20, lr=0.01, checkpoint=CheckpointConfig(every_steps=8, keep=3))
    whole = toy_objective()
    trained([whole], toy_stream(), recorder, options, checkpoints=checkpoints)
    shutil.rmtree(tmp_path / "step-00000020")
    (tmp_path / "step-00000016" / "state.json").write_text("{")
    rest = toy_objective()
    resume = checkpoints.latest(fallback=True)
    assert resume.step == 8
    trained([rest], toy_stream(), recorder, options, checkpoints=checkpoints, resume=resume)
    assert torch.equal(weights(whole), weights(rest))
    assert [p.name for p in checkpoints.paths()] == [f"step-{n:08d}" for n in (8, 16, 20)]


def test_bf16_keeps_float32_weights(toy_objective, toy_stream, recorder):
    seen = []

    class Looks(toy_objective):
        def loss(self, batch, step):
            seen.append((batch @ self.weight).dtype)
            return super().loss(batch, step)

    objective = Looks(noise=0.0)
    options = TrainingConfig(steps=150, lr=0.02, precision="bf16")
    trained([objective], toy_stream(), recorder, options)
    assert set(seen) == {torch.bfloat16}
    assert objective.weight.dtype == torch.float32
    assert recorder.metrics[-1][1]["toy/mse"] < 0.5 * recorder.metrics[0][1]["toy/mse"]
