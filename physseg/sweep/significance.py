"""What a difference between rows is worth: its confidence interval, the number of comparisons, the power of the test.

Letters: n pairs, sd standard deviation of the paired differences, k comparisons.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

LEVEL = 0.05
"""Differences with a p-value below this are called significant."""
POWER = 0.8
"""Share of repetitions in which a difference should be found that is said to be detectable."""


def interval_half_width(std: float, pairs: int) -> float:
    """Half the width of the 95 % confidence interval of a mean of paired differences (Student's t, n - 1); NaN below 2.

    >>> round(interval_half_width(1.0, 5), 4)
    1.2417
    """
    return float(stats.t.ppf(1 - LEVEL / 2, pairs - 1)) * std / math.sqrt(pairs) if pairs > 1 else math.nan


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down method (Scand. J. Stat. 6, 1979); NaN is no comparison.

    The smallest is multiplied by k, the next by k - 1, and so on; none comes out below one that was smaller. Rejecting
    below `LEVEL` keeps the chance of any wrong rejection at most there, however the tests depend on each other.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


def detectable_difference(std: float, pairs: int, comparisons: int = 1) -> float:
    """The true mean difference that a two-sided paired t-test finds with probability `POWER`; NaN below 2 pairs.

    Args:
        comparisons: the test is made at `LEVEL` over this: what a comparison needs that Holm meets first.

    >>> round(detectable_difference(1.0, 5), 2)  # Cohen, 1988: 1.68 standard deviations
    1.68
    """
    if pairs < 2 or math.isnan(std):
        return math.nan
    freedom, root = pairs - 1, math.sqrt(pairs)
    bound = float(stats.t.ppf(1 - LEVEL / comparisons / 2, freedom))

    # T is normal over chi / sqrt(freedom): its tail is a mean of normal tails over chi's quantiles. scipy's
    # noncentral t does not answer for all that can occur here.
    chi = stats.chi.ppf((np.arange(4000) + 0.5) / 4000, freedom) / math.sqrt(freedom)

    def missing(effect: float) -> float:
        tails = stats.norm.cdf(effect * root - bound * chi) + stats.norm.cdf(-effect * root - bound * chi)
        return float(tails.mean()) - POWER

    largest = 1.0
    while missing(largest) < 0:
        largest *= 2
    return std * float(optimize.brentq(missing, 0.0, largest))
