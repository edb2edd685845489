"""Where randomness comes from: (root key, run, purpose, block) -> key.

A draw depends on nothing else, so a run sees the same numbers whatever the number of runs, the
tile it lies in, the device it runs on and the policies it is compared with. Changing a purpose's
number, the hashes below or what is drawn from a key changes results: it is a breaking change,
recorded by `STREAM_VERSION`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit.checks import InputError
from jaxbandit.engine.draws import threefry
from jaxbandit.precision import settings

STREAM_VERSION = 2


class Purpose(IntEnum):
    """What a key is for. Numbers are part of the stream: never reuse or renumber one."""

    INSTANCE = 0
    CONTEXTS = 1
    LOG_TASK = 2
    LOG_FEATURES = 3
    LOG_ACTION = 4
    LOG_NOISE = 5
    OFFLINE_REWARDS = 6
    REWARDS = 7
    POLICY = 8
    ROUND = 9
    ROUND_FEATURES = 10


@settings.usual()
def root_key(key: Any) -> Array:
    """A typed threefry key from a typed or raw one.

    Raises:
        InputError: `key` is not a single PRNG key (a seed, for example), or one of another kind
            than threefry.
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(key)) != "threefry2x32":
            raise InputError(
                f"key must be a threefry key, was {jax.random.key_impl(key)}; "
                'make one with jax.random.key(seed, impl="threefry2x32")'
            )
        if key.ndim == 0:
            return key
    elif getattr(key, "dtype", None) == "uint32" and key.shape == (2,):
        return jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    was = f"an array of shape {key.shape}" if hasattr(key, "shape") else repr(key)
    raise InputError(f"key must be one PRNG key, was {was}; make one with jax.random.key(seed)")


def run_key(root: Array, run: ArrayLike) -> Array:
    """The key of one run; the same as `jax.random.fold_in`."""
    return _hash(root, 0, run)


def purpose_key(key: Array, purpose: Purpose, block: ArrayLike = 0) -> Array:
    """The key, within one run, of one purpose and one block of rounds or records."""
    # The purpose is the first word of the counter, above zero, where `run_key` has zero.
    return _hash(key, int(purpose) + 1, block)


def purpose_keys(key: Array, purposes: Sequence[Purpose], block: ArrayLike = 0) -> Array:
    """The keys of several purposes, [purposes], as one hash; the same as `purpose_key`'s."""
    return _hash(key, np.asarray(purposes) + 1, block)


def _hash(key: Array, first: ArrayLike, second: ArrayLike) -> Array:
    first, second = jnp.broadcast_arrays(
        jnp.asarray(first, jnp.uint32), jnp.asarray(second, jnp.uint32)
    )
    words = threefry(jax.random.key_data(key), first, second)
    return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl="threefry2x32")
