"""Arguments that several commands take: one rule for each."""

from __future__ import annotations

from jaxbandit.checks import InputError, check_count

LONGEST = 2**31 - 1
"""Rounds are counted in 32 bits."""
_SEEDS = 2**32


def check_seed(name: str, seed: object) -> int:
    """A seed that JAX, NumPy and scikit-learn all take."""
    number = check_count(name, seed, minimum=0)
    if number >= _SEEDS:
        raise InputError(f"{name} must be below 2**32, was {number}")
    return number


def check_horizon(name: str, rounds: object) -> int:
    """Rounds that can be counted."""
    horizon = check_count(name, rounds)
    if horizon > LONGEST:
        raise InputError(f"{name} must be at most {LONGEST:,} rounds, was {horizon:,}")
    return horizon
