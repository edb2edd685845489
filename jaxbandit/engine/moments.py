"""Mean and variance over runs, mergeable.

A tile of runs is summarised on its device (`tile_moments`); summaries are merged on the host in
float64, in tile order (`merge`), so the result does not depend on who computed what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float
from scipy.special import stdtrit


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations from the mean, over runs.

    Every field has the shape of the quantity, except `count`, which may be a scalar.
    """

    count: Any
    """Runs."""
    mean: Any
    """Over runs."""
    deviation: Any
    """Sum over runs of squared deviations from the mean."""

    @property
    def var(self) -> Any:
        """Sample variance (ddof 1); NaN for fewer than two runs."""
        return np.where(self.count > 1, self.deviation / np.maximum(self.count - 1, 1), np.nan)

    @property
    def std(self) -> Any:
        """Sample standard deviation (ddof 1)."""
        return np.sqrt(self.var)

    @property
    def sem(self) -> Any:
        """Standard error of the mean."""
        return self.std / np.sqrt(np.maximum(self.count, 1))

    @property
    def margin(self) -> Any:
        """What the 95 % confidence interval of the mean reaches to each side of it."""
        return errors_each_side(self.count) * self.sem


def in_words(title: str, left_out: int, curves: Mapping[str, Moments]) -> str:
    """What a result says of itself: where the curve of each name, or of its cells, ends."""
    lines = [f"{title} ({left_out} runs left out)" if left_out else title]
    width = max(map(len, curves))
    for name, curve in curves.items():
        mean, sem = curve.mean[..., -1], curve.sem[..., -1]
        if np.ndim(mean) == 0:
            end = f"{mean:.4g} +- {sem:.2g}"
        else:
            end = f"{np.min(mean):.4g} to {np.max(mean):.4g} in {np.size(mean)} cells"
        lines.append(f"  {name:{width}}  {end}")
    return "\n".join(lines)


def errors_each_side(count: Any, level: float = 0.95) -> Any:
    """Standard errors by which the confidence interval of a mean reaches to each side of it.

    A quantile of Student's distribution: right for the mean of `count` normal values. With few
    values it is far more than the 1.96 of many, since their spread is hardly known.

    Args:
        count: values averaged, any shape.
        level: of the interval.

    Returns:
        The shape of `count`; NaN where there is a single value, which has no spread.

    >>> [round(float(errors_each_side(count)), 2) for count in (2, 3, 10, 1000)]
    [12.71, 4.3, 2.26, 1.96]
    """
    return stdtrit(np.asarray(count) - 1, 0.5 + 0.5 * level)


def over_runs(value: np.ndarray) -> Moments:
    """Moments over the first axis, on the host."""
    mean = np.mean(value, axis=0)
    return Moments(len(value), mean, np.sum((value - mean) ** 2, axis=0))


def tile_moments(value: Float[Array, "runs ..."], valid: Bool[Array, " runs"]) -> Moments:
    """Moments over the valid runs of a tile: two passes, so float32 keeps its digits."""
    count = jnp.sum(valid)
    # Products with a vector of ones are vector code wherever the runs lie; reductions are not.
    one = valid.astype(value.dtype)
    value = jnp.moveaxis(value, 0, -1)
    mean = _dot(jnp.where(valid, value, 0), one) / jnp.maximum(count, 1)
    deviation = _dot(jnp.where(valid, value - mean[..., None], 0) ** 2, one)
    return Moments(count, mean, deviation)


_ROWS = 64
"""More rows than any compiler takes together in a product."""


def _dot(value: Array, weight: Array) -> Array:
    """The products of [..., runs] and [runs], each the same whatever others there are."""
    rows = value.reshape(-1, len(weight))
    # The rows beyond the last whole block of a product are summed in another order.
    padded = jnp.pad(rows, ((0, -len(rows) % _ROWS), (0, 0)))
    products = jnp.dot(padded, weight, precision=lax.Precision.HIGHEST)
    return products[: len(rows)].reshape(value.shape[:-1])


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of two disjoint sets of runs, in float64 on the host.

    Source:
        Chan, Golub and LeVeque 1983, eq. 2.1.
    """
    n, mean, deviation = (np.asarray(field, np.float64) for field in first)
    m, other_mean, other_deviation = (np.asarray(field, np.float64) for field in second)
    total = np.maximum(n + m, 1)
    delta = other_mean - mean
    return Moments(
        n + m,
        mean + delta * (m / total),
        deviation + other_deviation + delta**2 * (n * m / total),
    )
