"""Random numbers: the threefry counter generator of `jax.random`, arranged for throughput.

`jax.random.bits` hashes one counter for each 32-bit word and throws half of the hash away, and on
CPUs writes each group of rounds to memory. Simulations here spend most of their time drawing, so
this module writes the same hash out as straight vector code and keeps both of its words. Keys are
`jax.random` keys; only the numbers drawn from a key differ from `jax.random`'s.

Draws are float32 whatever the precision, so that float32 and x64 simulations see the same numbers.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int32, UInt32

from jaxbandit.engine.runs_last import runs_last

KeyWords = UInt32[Array, "2"] | tuple[Array, Array]
"""What `jax.random.key_data` gives; a tuple where there are many keys."""

# Words drawn with runs last when mapped; vectors of more are as long without.
_FEW = 64

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def bits(key: Array, shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
    """Independent uniform 32-bit words.

    Source:
        Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", threefry2x32, 20 rounds.
    """
    size, few = math.prod(shape), math.prod(shape) <= _FEW

    def drawn(key: KeyWords) -> Array:
        return words(key, size).reshape(shape)

    @runs_last
    def drawn_last(key: Array) -> Array:
        return words((key[0], key[1]), size, key.ndim).reshape(*shape, *key.shape[1:])

    return (drawn_last if few else drawn)(jax.random.key_data(key))


def words(key: KeyWords, size: int, axes: int = 1) -> UInt32[Array, "size *runs"]:
    """The words of `bits`, for the words of a key; as the first of some axes, the others runs."""
    counter = _counter(-(-size // 2), axes)
    return jnp.concatenate(threefry(key, jnp.zeros_like(counter), counter))[:size]


def uniform(key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Uniform on [0, 1); see `to_uniform`."""
    return to_uniform(bits(key, shape))


def normal(key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Standard normal, by inverting the distribution function."""
    return to_normal(bits(key, shape))


def to_uniform(word: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """Uniform words to [0, 1): the word times 2^-32, cut to float32's 24 bits, never rounded up.

    So `to_uniform(word) < p` has the probability p, for any p of float32: exactly from 2^-8 on,
    rounded up to a multiple of 2^-32 below.
    """
    # Ones where a word of more than 24 bits has those that float32 would round.
    excess = word >> 24
    excess = excess | (excess >> 1)
    excess = excess | (excess >> 2)
    excess = excess | (excess >> 4)
    return (word & ~excess).astype(jnp.float32) * jnp.float32(2**-32)


def to_normal(word: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    r"""Uniform words to standard normal numbers, to 6.3 standard deviations.

    With $x = (2s + 1) / 2^{32}$, s the word with a sign, it is $\sqrt 2\, \text{erf}^{-1}(x)$: x
    times a polynomial in $w = -\log((1 - x)(1 + x))$ up to w = 5, in $\sqrt w$ beyond. 1 - |x|
    comes from the word itself, as float32 would have lost it by subtracting; the error is below
    1e-6 of the number.

    Source:
        Giles 2012, "Approximating the erfinv function", whose second polynomial, which ends at
        w = 16, is fitted anew to 22.3, the largest w of 32 bits.
    """
    signed = word.astype(jnp.int32)
    # 1 - |x| = (2 m + 1) / 2^32.
    m = (signed ^ ~(signed >> 31)) & jnp.int32(2**31 - 1)
    tail = m.astype(jnp.float32) * jnp.float32(2**-31) + jnp.float32(2**-32)
    w = -jnp.log(tail * (2 - tail))
    near = w < 5
    t = jnp.where(near, w - jnp.float32(2.5), jnp.sqrt(w) - 3)
    factor = jnp.zeros_like(t)
    for central, outer in zip(_CENTRAL, _OUTER, strict=True):
        factor = factor * t + jnp.where(near, jnp.float32(central), jnp.float32(outer))
    size = jnp.float32(math.sqrt(2)) * factor * (1 - tail)
    return jnp.where(signed < 0, -size, size)


_CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_OUTER = (
    -2.98365141e-06,
    -0.000165233399,
    0.00116653649,
    -0.00336925428,
    0.00578702629,
    -0.0077260641,
    0.00943442454,
    1.00168326,
    2.8329771,
)


def beta_log_odds(
    key: KeyWords,
    one: Float[Array, "n *runs"],
    other: Float[Array, "n *runs"],
    least: Float[Array, ""],
) -> Float[Array, "n *runs"]:
    r"""log(p / (1 - p)) of independent p ~ Beta(one, other), exact but for rounding.

    Log-odds keep their digits where p is close to 0 or 1. They are the log of a ratio of two gamma
    variables, each drawn by rejection: with d a third below the shape and y normal of variance
    1 / (9 d), propose $d (1 + y)^3$, and accept it with probability
    $\exp(-3 d\, (y - y^2/2 + y^3/3 - \log(1 + y)))$, above 0.95 on average. Where the shape is
    below 1, one more is taken and the variable multiplied by a power of a uniform number.

    Args:
        key: words of a key, each [] or [*runs].
        one: first parameters of the distributions.
        other: second parameters.
        least: no parameter is smaller, or its draw is not a number; above zero. From 1 on, no
            powers are drawn.

    Source:
        Marsaglia and Tsang 2000, "A simple method for generating gamma variables".
    """
    shape = jnp.stack([one, other]).astype(jnp.float32)
    short = shape < 1
    d = jnp.where(short, shape + 1, shape) - jnp.float32(1 / 3)
    d = jnp.where(shape >= least.astype(jnp.float32), d, jnp.nan)

    def words(attempt: ArrayLike) -> tuple[Array, Array]:
        lane = _counter(one.shape[0], one.ndim)
        lane = jnp.stack([lane, lane + jnp.uint32(one.shape[0])])
        return threefry(key, lane, jnp.full_like(lane, attempt))

    def powers() -> Array:
        uniform = to_uniform(words(0)[0]) + jnp.float32(2**-33)
        return jnp.where(short, jnp.log(uniform) / shape, 0)

    def propose(attempt: ArrayLike) -> tuple[Array, Array]:
        first, second = words(attempt)
        y = to_normal(first) / (3 * jnp.sqrt(d))
        # Written so that what is not a number is accepted, and the loop ends.
        rejected = (y <= -1) | (to_uniform(second) >= jnp.exp(-3 * d * _cubic_excess(y)))
        return 3 * jnp.log1p(y), rejected

    def again(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        attempt, log, rejected = carry
        new, still = propose(attempt)
        return attempt + 1, jnp.where(rejected, new, log), rejected & still

    first = (jnp.uint32(2), *propose(1))
    _, log, _ = lax.while_loop(lambda carry: jnp.any(carry[2]), again, first)
    log = log + lax.cond(least < 1, powers, lambda: jnp.zeros_like(log))
    return jnp.log(d[0] / d[1]) + (log[0] - log[1])


def to_index(word: UInt32[Array, "*n"], size: int) -> Int32[Array, "*n"]:
    """Uniform words to [0, size): the high word of a product, exact for any size to 2^31."""
    low, high = word & 0xFFFF, word >> 16
    size_low, size_high = jnp.uint32(size & 0xFFFF), jnp.uint32(size >> 16)
    middle = high * size_low + ((low * size_low) >> 16)
    carry = (middle & 0xFFFF) + low * size_high
    return (high * size_high + (middle >> 16) + (carry >> 16)).astype(jnp.int32)


@jax.jit
def threefry(
    key: KeyWords, first: UInt32[Array, "*#n"], second: UInt32[Array, "*#n"]
) -> tuple[UInt32[Array, "*#n"], UInt32[Array, "*#n"]]:
    """The threefry2x32 hash of pairs of words, 20 rounds."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    first, second = first + schedule[0], second + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            first = first + second
            second = first ^ ((second << rotation) | (second >> (32 - rotation)))
        first = first + schedule[(group + 1) % 3]
        second = second + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return first, second


def _counter(size: int, axes: int) -> Array:
    return lax.iota(jnp.uint32, size).reshape(size, *(1,) * (axes - 1))


def _cubic_excess(y: Array) -> Array:
    """y - y^2/2 + y^3/3 - log(1 + y), by its series where the difference would cancel."""
    series = y**4 * (1 / 4 - y * (1 / 5 - y * (1 / 6 - y / 7)))
    return jnp.where(jnp.abs(y) < 0.1, series, y - y**2 / 2 + y**3 / 3 - jnp.log1p(y))
