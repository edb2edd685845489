"""Arguments that several commands take: one rule for each."""

from __future__ import annotations

from jaxbandit.checks import check_count

SEEDS = 2**32 - 1
"""The largest seed that JAX, NumPy and scikit-learn all take."""


def check_seed(name: str, seed: object) -> int:
    """A seed that is within range."""
    return check_count(name, seed, minimum=0, most=SEEDS)
