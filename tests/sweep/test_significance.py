"""Intervals, Holm's correction and power against tables and other ways to the same numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from physseg.sweep.significance import detectable_difference, holm, interval_half_width


def test_interval_is_scipys():
    values = np.array([0.3, -0.1, 0.8, 0.5, 0.2])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    half = interval_half_width(values.std(ddof=1), 5)
    assert (values.mean() - half, values.mean() + half) == pytest.approx((expected.low, expected.high))
    assert math.isnan(interval_half_width(math.nan, 1))


def test_holm_by_hand():
    """0.01 * 4; 0.02 * 3; 0.03 * 2 stays at the one before it; 0.2 * 1."""
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.01, math.nan, 0.03])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.03)


@pytest.mark.parametrize(("pairs", "effect"), [(5, 1.682), (10, 0.997), (20, 0.660)])
def test_detectable_difference_is_that_of_power_tables(pairs, effect):
    """Standardised effects that a two-sided paired t-test at 0.05 finds four times out of five (G*Power)."""
    assert detectable_difference(2.0, pairs) == pytest.approx(2 * effect, rel=2e-3)


def test_more_comparisons_need_a_larger_difference():
    assert detectable_difference(1.0, 8, comparisons=10) > 1.4 * detectable_difference(1.0, 8)
    assert math.isnan(detectable_difference(math.nan, 1))
