"""Student's t distribution, central and noncentral, and chi square, from scipy (extra `report`).

scipy is imported at the first call, because a plain install does without it.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from types import ModuleType

from atlas.errors import DependencyError

MOST_DEGREES = 1e6


def t_quantile(confidence: float, degrees: float) -> float:
    """The limit that |t| stays below with this probability; normal for infinite degrees.

    >>> round(t_quantile(0.95, 10), 3), round(t_quantile(0.95, math.inf), 3)
    (2.228, 1.96)
    """
    share = 0.5 + confidence / 2
    if math.isinf(degrees):
        return NormalDist().inv_cdf(share)
    return float(_special().stdtrit(degrees, share))


def t_of_p_value(p_value: float, degrees: float) -> float:
    """The t with this two-sided p-value, however small that is.

    >>> round(t_of_p_value(0.05, 10), 3), round(t_of_p_value(2**-60, math.inf), 1)
    (2.228, 8.9)
    """
    if math.isinf(degrees):
        return -NormalDist().inv_cdf(p_value / 2)
    return -float(_special().stdtrit(degrees, p_value / 2))


def t_p_value(t: float, degrees: float) -> float:
    """The two-sided p-value of t.

    >>> round(t_p_value(2.228, 10), 3)
    0.05
    """
    if math.isinf(degrees):
        return 2 * NormalDist().cdf(-abs(t))
    return float(2 * _special().stdtr(degrees, -abs(t)))


def t_power(effect: float, degrees: float, confidence: float) -> float:
    """The probability that |t| exceeds its limit if t is noncentral by `effect` standard errors.

    >>> round(t_power(0.0, 10, 0.95), 3)
    0.05
    """
    limit = t_quantile(confidence, degrees)
    # The noncentral t of scipy is not known for more degrees of freedom.
    if degrees > MOST_DEGREES:
        return NormalDist().cdf(effect - limit) + NormalDist().cdf(-effect - limit)
    special = _special()
    upper = 1 - float(special.nctdtr(degrees, abs(effect), limit))
    # By symmetry, the lower tail with +effect is the upper one with -effect.
    lower = float(special.nctdtr(degrees, abs(effect), -limit))
    return upper + (0.0 if math.isnan(lower) else lower)


def chi_square_quantile(share: float, degrees: float) -> float:
    """What a sum of squares of so many normal numbers stays below with this probability.

    >>> round(chi_square_quantile(0.95, 1), 3)
    3.841
    """
    return float(_special().chdtri(degrees, 1 - share))


def _special() -> ModuleType:
    try:
        from scipy import special
    except ImportError:
        raise DependencyError("scipy", "report") from None
    return special  # type: ignore[no-any-return]
