import pytest

from lmscope.core.errors import RecipeError
from lmscope.training.fan_out import FanOut


def test_every_tap_gets_every_batch_once(toy_stream):
    stream = toy_stream()
    fan_out = FanOut(stream)
    taps = [fan_out.tap(name) for name in "abc"]
    for _ in range(5):
        for _ in range(2):
            a, b, c = (next(tap) for tap in taps)
            assert a is b is c
        assert fan_out.settle() == 2
    assert stream.at == 10


def test_one_tap_may_run_ahead_within_a_step(toy_stream):
    fan_out = FanOut(toy_stream())
    a, b = fan_out.tap("a"), fan_out.tap("b")
    first = [next(a) for _ in range(3)]
    assert all(x is y for x, y in zip(first, [next(b) for _ in range(3)], strict=True))
    assert len(fan_out._held) == 0


def test_batches_are_dropped_when_all_have_them(toy_stream):
    fan_out = FanOut(toy_stream())
    taps = [fan_out.tap("a"), fan_out.tap("b")]
    for _ in range(10):
        for tap in taps:
            next(tap)
        assert len(fan_out._held) == 0


def test_unequal_draws_are_refused(toy_stream):
    fan_out = FanOut(toy_stream())
    a, b = fan_out.tap("a"), fan_out.tap("b")
    next(a), next(a), next(b)
    with pytest.raises(RecipeError, match=r"equally many batches a step; found 'a' 2, 'b' 1"):
        fan_out.settle()


def test_tap_that_draws_nothing_is_left_out_and_stays_out(toy_stream):
    fan_out = FanOut(toy_stream())
    a, b = fan_out.tap("a"), fan_out.tap("b")
    for _ in range(3):
        next(a)
        assert fan_out.settle() == 1
        assert len(fan_out._held) == 0
    with pytest.raises(RecipeError, match="'b' began to draw"):
        next(b)


def test_single_tap_may_draw_as_it_likes(toy_stream):
    fan_out = FanOut(toy_stream())
    tap = fan_out.tap("a")
    for n in (0, 3, 1, 0, 2):
        for _ in range(n):
            next(tap)
        assert fan_out.settle() == n


def test_the_end_of_the_stream_reaches_each_tap(toy_stream):
    fan_out = FanOut(toy_stream(total=1))
    a, b = fan_out.tap("a"), fan_out.tap("b")
    assert next(a) is next(b)
    for tap in (a, b):
        with pytest.raises(StopIteration):
            next(tap)
