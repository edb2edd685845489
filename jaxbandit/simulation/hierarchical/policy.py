r"""Policies that know the model: what they believe of the tasks, and how they act on it.

Three beliefs: hierarchical (tasks inform each other), flat (they do not) and oracle (what they
share is known). Two rules: Thompson sampling and the upper confidence bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.engine.runs_last import runs_last
from jaxbandit.inference.model import Gaussian, HierarchicalGaussian
from jaxbandit.inference.recursive import flat_model, oracle_model
from jaxbandit.linalg.axis_first import inner, quadratic_form
from jaxbandit.precision import settings

Prior = Callable[[HierarchicalGaussian, Array], HierarchicalGaussian]
"""(model, true hyper-parameter) -> the model that a policy believes in; a module-level function."""


class HierarchicalPolicy(NamedTuple):
    """A belief and a rule."""

    params: Any
    """Pytree of arrays, for `index`."""
    prior: Prior
    """What it believes before the log."""
    index: Callable[[Any, Gaussian, Array, Array], Array]
    """(params, the task's posterior, features [actions, features], standard normal numbers
    [features]) -> index [actions]; the action with the largest is taken."""


def hierarchical_prior(model: HierarchicalGaussian, hyper_parameter: Array) -> HierarchicalGaussian:
    """The model itself."""
    return model


def flat_prior(model: HierarchicalGaussian, hyper_parameter: Array) -> HierarchicalGaussian:
    """Tasks that share nothing."""
    return flat_model(model)


def hierarchical_thompson(prior: Prior = hierarchical_prior) -> HierarchicalPolicy:
    r"""Thompson sampling: the best action for a parameter drawn from the task's posterior.

    Args:
        prior: `hierarchical_prior`, `flat_prior` or `oracle_model`.

    Source:
        Hong et al. 2022, "Hierarchical Bayesian bandits", algorithm 1; with a prior that learns,
        Kveton et al. 2021, "Meta-Thompson sampling".
    """
    return HierarchicalPolicy((), prior, _thompson)


@settings.usual()
def hierarchical_ucb(
    width: ArrayLike = 1.0, prior: Prior = hierarchical_prior
) -> HierarchicalPolicy:
    r"""The largest upper bound $\phi' \hat\theta + w \sqrt{\phi' \hat\Sigma \phi}$.

    Args:
        width: w, at least 0.
        prior: `hierarchical_prior`, `flat_prior` or `oracle_model`.

    Raises:
        InputError: width negative or not finite.
    """
    checks.check_not_negative("width", width)
    return HierarchicalPolicy(jnp.asarray(width, float), prior, _ucb)


def usual_policies(width: ArrayLike = 1.0) -> dict[str, HierarchicalPolicy]:
    """Both rules with all three beliefs, by name."""
    priors: dict[str, Prior] = {
        "Hier": hierarchical_prior,
        "Flat": flat_prior,
        "Oracle": oracle_model,
    }
    thompson = {f"{name}TS": hierarchical_thompson(prior) for name, prior in priors.items()}
    return thompson | {
        f"{name}UCB": hierarchical_ucb(width, prior) for name, prior in priors.items()
    }


def _thompson(
    params: tuple[()], gaussian: Gaussian, feature: Array, normal: Float[Array, " features"]
) -> Array:
    return _drawn_index(gaussian.mean, gaussian.cov, feature, normal)


def _ucb(width: Array, gaussian: Gaussian, feature: Array, normal: Array) -> Array:
    return _upper_bound(width, gaussian.mean, gaussian.cov, feature)


@runs_last
def _drawn_index(mean: Array, cov: Array, feature: Array, normal: Array) -> Array:
    # Column after column of the Cholesky factor, as `linalg.psd_factor` has them, and every some of
    # them without the rows that are done.
    noise = 4 * len(mean) * jnp.finfo(cov.dtype).eps
    rest, drawn = cov, mean + 0 * normal
    for start in range(0, len(mean), _COLUMNS):
        rest, after = _add_columns(
            rest, drawn[start:], normal[start:], noise * _diagonal(cov)[start:]
        )
        drawn = jnp.concatenate([drawn[:start], after])
    return inner(jnp.swapaxes(feature, 0, 1), drawn)


# At a time.
_COLUMNS = 6


def _add_columns(rest: Array, drawn: Array, normal: Array, noise: Array) -> tuple[Array, Array]:
    """What is left of a matrix beyond some columns of its factor, and a draw with these added."""
    count = min(_COLUMNS, len(drawn))
    row = np.arange(len(drawn)).reshape(-1, *(1,) * (drawn.ndim - 1))

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, drawn = carry
        line = rest[k]
        kept = line[k] > noise[k]
        column = jnp.where(kept & (row >= k), line / jnp.sqrt(jnp.where(kept, line[k], 1)), 0)
        return rest - column[:, None] * column, drawn + column * normal[k]

    rest, drawn = lax.fori_loop(0, count, step, (rest, drawn))
    return rest[count:, count:], drawn


def _diagonal(matrix: Array) -> Array:
    return jnp.stack([matrix[k, k] for k in range(len(matrix))])


@runs_last
def _upper_bound(width: Array, mean: Array, cov: Array, feature: Array) -> Array:
    along = jnp.swapaxes(feature, 0, 1)  # [features, actions, *runs]
    variance = quadratic_form(cov, along)
    return inner(along, mean) + width * jnp.sqrt(jnp.maximum(variance, 0))
