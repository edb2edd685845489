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
from jaxtyping import Float, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def bits(key: Array, shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
    """Independent uniform 32-bit words.

    Source:
        Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", threefry2x32, 20 rounds.
    """
    size = math.prod(shape)
    half = -(-size // 2)
    counter = lax.iota(jnp.uint32, half)
    words = jnp.concatenate(threefry(jax.random.key_data(key), jnp.zeros_like(counter), counter))
    return words[:size].reshape(shape)


def uniform(key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Uniform on [0, 1), in steps of 2^-24."""
    return to_uniform(bits(key, shape))


def normal(key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Standard normal, by inverting the distribution function."""
    return to_normal(bits(key, shape))


def to_uniform(word: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """Uniform words to [0, 1), in steps of 2^-24."""
    return (word >> 8).astype(jnp.int32).astype(jnp.float32) * jnp.float32(2**-24)


def to_normal(word: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """Uniform words to standard normal numbers."""
    # Odd multiples of 2^-24 in (-1, 1): symmetric, and never 0, 1 or -1.
    centred = (word.astype(jnp.int32) >> 8).astype(jnp.float32) * 2 + 1
    return jnp.float32(math.sqrt(2)) * lax.erf_inv(centred * jnp.float32(2**-24))


@jax.jit
def threefry(
    key: UInt32[Array, "2"], first: UInt32[Array, "*n"], second: UInt32[Array, "*n"]
) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
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
