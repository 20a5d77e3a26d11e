"""The judge of long runs tells growth from noise."""

import random

import pytest

from tests.load.levels import level


def test_what_goes_up_and_down_has_levelled_off():
    chance = random.Random(1)
    saw = [100 + turn % 37 + chance.random() for turn in range(300)]
    assert level(saw).certain < 5


@pytest.mark.parametrize("seed", range(20))
def test_growth_under_noise_is_seen(seed):
    chance = random.Random(seed)
    leak = [100 + 0.1 * turn + chance.gauss(0, 3) for turn in range(300)]
    found = level(leak)
    assert 10 < found.certain < 30
    assert found.last > found.first


def test_what_grew_only_at_the_beginning_is_forgiven():
    assert level([min(turn, 60) for turn in range(300)]).certain == 0


def test_few_samples_are_no_judgement():
    with pytest.raises(ValueError, match="too few"):
        level([1.0] * 30)
