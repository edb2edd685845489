r"""Worst cases over how often each arm is pulled, in closed form or by one bisection.

Throughout, $c / \sqrt{n}$ is the confidence radius after n samples, $m_i$ the offline samples of
arm i (any real number of at least 0), R the range of the means. Values are rounded up, so that an
upper bound stays one in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxbandit.precision import rounding

# Halvings of the price's bracket, in logarithms: leaves a relative error of about 1e-8.
_HALVINGS = 28
# Pulls below this are tried one by one.
_SMALL = 7


@jax.jit
def pull_limit(
    count: Float[Array, " arms"],
    gap: Float[Array, " arms"],
    square: Float[Array, ""],
    horizon: Float[Array, ""],
) -> Float[Array, " arms"]:
    r"""Most pulls as the UCB arm, $N_i = \min(T, (\lfloor 4c^2/D_i^2 - m_i \rfloor + 1)_+)$.

    Arm i is the UCB arm with n samples only if $\mu_i + 2c/\sqrt n \ge \mu_*$, so its last pull
    comes when n is at most $4c^2/D_i^2$. An arm without a gap may be pulled T times.

    Args:
        count: $m_i$.
        gap: $D_i$, at least 0.
        square: $c^2$.
        horizon: T.

    Source:
        Sentenac et al. 2025, eq. 17.
    """
    # The ratio is rounded up before the floor: one ulp too little would lose a pull.
    samples = jnp.where(gap > 0, rounding.up(4 * square / gap**2), jnp.inf)
    return jnp.clip(jnp.floor(samples - count) + 1, 0, horizon)


@jax.jit
def largest_excess(
    count: Float[Array, " arms"],
    gap: Float[Array, " arms"],
    radius: Float[Array, ""],
    limit: Float[Array, ""],
    most: Float[Array, " arms"],
) -> Float[Array, " arms"]:
    r"""$\psi_i = \max_{1 \le v \le V_i} v \min(R, D_i + 2c/\sqrt{m_i + v - 1})^2 / 4$, v whole.

    Where the minimum is R the value grows with v. Beyond, with $s = m_i + v - 1$, its logarithm has
    the derivative $1/v - 2c / (s (D_i \sqrt s + 2c))$, which has the sign of
    $D_i s^{3/2} + 2c (m_i - 1)$: never negative for $m_i \ge 1$, and from negative to positive as v
    grows otherwise. So the maximum is at the last v where the minimum is R, at the first where it
    is not, or at $V_i$: no search.

    Args:
        count: $m_i$.
        gap: $D_i$ in [0, R].
        radius: c.
        limit: R.
        most: $V_i$; where it is 0, so is the value.
    """
    offset = count - 1
    # The minimum is R while m + v - 1 <= (2c / (R - D))^2; rounding can shift that by one or two.
    last = jnp.floor((2 * radius / jnp.maximum(limit - gap, 0)) ** 2 - offset)
    steps = jnp.arange(-1, 3, dtype=last.dtype)[:, None]
    pulls = jnp.concatenate([last + steps, most[None]])
    pulls = jnp.clip(pulls, 1, jnp.maximum(most, 1))
    excess = jnp.minimum(limit, gap + _twice_radius(radius, offset + pulls))
    return jnp.where(most >= 1, jnp.max(pulls * excess**2, axis=0) / 4, 0)


@jax.jit
def largest_total(
    count: Float[Array, " arms"],
    radius: Float[Array, ""],
    limit: Float[Array, ""],
    horizon: Float[Array, ""],
) -> Float[Array, ""]:
    r"""Upper bound on $\max \{\sum_i f_i(n_i) : \sum_i n_i \le T\}$ over whole numbers, where
    $f_i(n) = n \min(R, 2c/\sqrt{(m_i + n - 1)_+})$.

    Water-filling through the dual: for every price $\lambda \ge 0$ of a pull,

    $\max \sum_i f_i(n_i) \le \lambda T + \sum_i \max_{0 \le n \le T} (f_i(n) - \lambda n)$.

    The inner maxima are exact, so whatever the price the value is an upper bound; bisection finds
    the best to a relative 1e-8, or to rounding. Where the $f_i$ are concave ($m_i \ge 1$, or
    $4c^2 \ge 3R^2$) it is the maximum itself; otherwise that of their concave envelopes.

    Args:
        count: $m_i$.
        radius: c.
        limit: R.
        horizon: T.
    """

    respond = _best_response(count, radius, limit, horizon)

    def dual(price: Array) -> Array:
        return price * horizon + jnp.sum(respond(price)[1])

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        price = jnp.sqrt(low * high)
        cheap = jnp.sum(respond(price)[0]) > horizon
        return jnp.where(cheap, price, low), jnp.where(cheap, high, price)

    # No marginal gain exceeds R, and few are below a quarter of c / sqrt(m + T).
    low = jnp.minimum(radius / jnp.sqrt(jnp.max(count) + horizon) / 4, limit / 2)
    low, high = lax.fori_loop(0, _HALVINGS, halve, (low, limit))
    best = jnp.minimum(dual(low), dual(high))
    most = rounding.product_at_least(horizon, limit)
    return jnp.minimum(rounding.up(best, count.shape[0]), most)


def _best_response(
    count: Array, radius: Array, limit: Array, horizon: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """price -> maximiser and maximum of `f_i(n) - price * n` over whole n in [0, T], per arm."""
    offset = count - 1
    size = jnp.maximum(jnp.sqrt(jnp.abs(offset)), 1e-3)
    # n min(R, .) is linear up to its kink: a price below R buys at least that much.
    kink = (2 * radius / limit) ** 2 - offset

    def gain(pulls: Array) -> Array:
        return pulls * jnp.minimum(limit, _twice_radius(radius, offset + pulls))

    # For m < 1, f is concave only beyond n = 4.
    small = jnp.minimum(jnp.arange(_SMALL, dtype=count.dtype)[:, None], horizon)
    small_gain = gain(small)

    def respond(price: Array) -> tuple[Array, Array]:
        # Beyond the kink f'(n) = c (y + offset y^3) = price, y = 1 / sqrt(offset + n).
        y = _cubic_root(jnp.sign(offset), size * price / radius) / size
        floor = jnp.floor(jnp.maximum(1 / y**2 - offset, kink))
        large = jnp.clip(jnp.stack([floor, floor + 1]), 0, horizon)
        pulls = jnp.concatenate([jnp.broadcast_to(small, small_gain.shape), large])
        profit = jnp.concatenate([small_gain, gain(large)]) - price * pulls
        best = jnp.max(profit, axis=0)
        return jnp.max(jnp.where(profit == best, pulls, 0), axis=0), best

    return respond


def _cubic_root(sign: Array, value: Array) -> Array:
    """z > 0 with `z + sign z^3 = value`, by Newton's method from the side that converges.

    For a negative sign it is the smaller of two roots, only roughly where they meet; the pulls that
    belong there are below `_SMALL`.
    """
    root = jnp.where(sign > 0, jnp.minimum(value, jnp.cbrt(value)), jnp.minimum(value, 0.38))
    value = jnp.where(sign > 0, value, jnp.minimum(value, 0.38))
    for _ in range(5):
        square = sign * root**2
        root = (value + 2 * square * root) / (1 + 3 * square)
    return root


def _twice_radius(radius: Array, samples: Array) -> Array:
    # Infinite without samples.
    return 2 * radius / jnp.sqrt(jnp.maximum(samples, 0))
