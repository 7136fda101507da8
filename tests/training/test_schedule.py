import pytest

from lmscope.core.errors import RecipeError
from lmscope.training.config import ScheduleConfig, TrainingConfig
from lmscope.training.schedule import lr_factor, warmup_steps


def factors(steps, **options):
    return [lr_factor(s, steps, ScheduleConfig(**options)) for s in range(steps)]


def test_linear_schedule_by_hand():
    """10 steps: 2 warm up (1/2, 2/2), 4 level, 4 fall by quarters towards 0, which step 10 would have."""
    found = factors(10, warmup=0.2, decay_fraction=0.4)
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_end_factor_is_where_the_fall_ends():
    found = factors(4, warmup=0, decay_fraction=1, end_factor=0.2)
    assert found == pytest.approx([1, 0.8, 0.6, 0.4])


def test_cosine_by_hand():
    """(1 + cos(pi s / 4)) / 2 for s = 0..3."""
    found = factors(4, warmup=0, decay="cosine", decay_fraction=1)
    assert found == pytest.approx([1, 0.8535534, 0.5, 0.1464466])


def test_constant_stays_after_its_warm_up():
    assert factors(5, warmup=2, decay="constant") == [0.5, 1, 1, 1, 1]


def test_fall_begins_after_the_warm_up():
    assert factors(4, warmup=2, decay_fraction=1) == [0.5, 1, 1, 0.5]
    assert factors(3, warmup=3, decay_fraction=1) == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 0.1, 3, 0.99])
def test_no_step_is_wasted_and_none_exceeds_the_peak(decay, warmup):
    for steps in (3, 4, 17, 100):
        found = factors(steps, decay=decay, warmup=warmup, decay_fraction=0.5)
        assert all(0 < factor <= 1 for factor in found)


def test_warm_up_counts_steps_from_one_and_fractions_below():
    assert warmup_steps(200, ScheduleConfig(warmup=0.05)) == 10
    assert warmup_steps(200, ScheduleConfig(warmup=1)) == 1
    assert warmup_steps(200, ScheduleConfig(warmup=150)) == 150
    with pytest.raises(RecipeError, match="150 steps does not fit into 100"):
        warmup_steps(100, ScheduleConfig(warmup=150))


def test_warm_up_between_the_two_is_refused():
    with pytest.raises(
        RecipeError, match=r"2\.5 is neither a fraction below 1 nor a number of steps"
    ):
        TrainingConfig.from_mapping({"schedule": {"warmup": 2.5}})


def test_config_survives_toml():
    config = TrainingConfig(steps=5, schedule=ScheduleConfig(warmup=3))
    assert TrainingConfig.from_mapping(config.to_mapping()) == config
