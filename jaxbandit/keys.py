"""Where randomness comes from: (root key, run, purpose, block) -> key.

A draw depends on nothing else, so a run sees the same numbers whatever the number of runs, the
tile it lies in, the device it runs on and the policies it is compared with. Changing a purpose's
number, the order of the folds or what is drawn from a key changes results: it is a breaking change,
recorded by `STREAM_VERSION`.
"""

from __future__ import annotations

from enum import IntEnum

import jax
from jax import Array

from jaxbandit.checks import InputError

STREAM_VERSION = 1


class Purpose(IntEnum):
    """What a key is for. Numbers are part of the stream: never reuse or renumber one."""

    INSTANCE = 0
    LOG = 1
    CONTEXTS = 2


def root_key(key: Array) -> Array:
    """A typed key from a typed or raw one.

    Raises:
        InputError: `key` is not a single PRNG key; a seed, for example.
    """
    if isinstance(key, jax.Array) and jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.ndim == 0:
            return key
    elif hasattr(key, "dtype") and key.dtype == "uint32" and key.ndim == 1:
        return jax.random.wrap_key_data(key)
    raise InputError(f"key must be one PRNG key, was {key!r}; make one with jax.random.key(seed)")


def run_key(root: Array, run: Array) -> Array:
    """The key of one run."""
    return jax.random.fold_in(root, run)


def purpose_key(key: Array, purpose: Purpose, block: int | Array = 0) -> Array:
    """The key, within one run, of one purpose and one block of rounds or records."""
    return jax.random.fold_in(jax.random.fold_in(key, int(purpose)), block)
