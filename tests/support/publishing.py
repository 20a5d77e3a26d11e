"""What `tests/test_support.py` runs in a pytest of its own: tests that publish figures, one of them a broken one."""

import pytest


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_good(publish, database_url):
    publish("#1", "a good one", "3 of 3", value=3, bound="= 3", promise=1, control="2 of 3", seed=7)
    publish.control("#1", "its control", "lost 2", value=2, bound="lost >= 1")


def test_broken(publish):
    publish("#2", "a broken one", "lost 1", value=1, bound="lost = 0")


def test_failing(publish):
    raise RuntimeError("a fault of its own")


def test_impossible(publish):
    publish.cannot_run("#3", "a network", "there is none; install one")


def test_without():
    """Not of `--reliability`: it publishes nothing."""


@pytest.mark.long
def test_long(publish, long):
    assert long
    publish("#4", "a long one", "1 h", value=1, bound=">= 1")
