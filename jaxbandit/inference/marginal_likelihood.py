"""The marginal likelihood of a log under a hierarchical linear Gaussian model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxbandit.inference import whitened as coordinates
from jaxbandit.inference.digits import warn_of_likelihood
from jaxbandit.inference.model import HierarchicalGaussian, TaskStatistics, checked
from jaxbandit.inference.whitened import Block, HyperInformation
from jaxbandit.linalg import packed
from jaxbandit.precision.settings import promotion


def log_marginal_likelihood(model: HierarchicalGaussian, stats: TaskStatistics) -> Array:
    r"""Log density of all rewards given all features, parameters integrated out.

    Task parameters first, then the hyper-parameter, with $y$ centred at its prior mean:
    $-\tfrac{1}{2} [n \log 2\pi\sigma^2 + \sum_s (\log|I + A_s| + |y_s|^2/\sigma^2 - b_s' P_s b_s)
    + \log|I + H' T H| - h' S h]$.

    Args:
        model: the model; may be differentiated, for empirical Bayes.
        stats: raw sums per task.

    Returns:
        [], in nats.

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).

    Warns:
        UserWarning: rewards lie so far from zero that float32 sums lose whole nats.
    """
    model, stats = checked(model, stats)
    eps = float(jnp.finfo(stats.square.dtype).eps)
    warn_of_likelihood(stats.square, model.noise_std, eps, "the log marginal likelihood")
    return _log_marginal_likelihood(model, stats)


@promotion()
@jax.jit
def _log_marginal_likelihood(model: HierarchicalGaussian, stats: TaskStatistics) -> Array:
    basis = coordinates.basis(model)

    def add(carry: tuple[Array, HyperInformation], block: Block) -> tuple[Array, HyperInformation]:
        within, information = carry
        tasks = coordinates.condition(basis.factor, model, block.stats)
        # b' P b as the maximum of 2 b' x - x' (I + A) x: rounding in x counts only squared.
        x = tasks.solution
        back = tasks.vector - x - packed.multiply(tasks.precision, x)
        fitted = jnp.sum(x * (tasks.vector + back), axis=0)
        each = jnp.where(block.fresh, tasks.square - fitted + tasks.log_det, 0)
        information = coordinates.add_information(information, tasks, block.fresh)
        return within + jnp.sum(each), information

    nothing = (jnp.zeros_like(model.noise_std), coordinates.no_information(model))
    within, information = coordinates.over_blocks(add, nothing, stats)
    hyper = coordinates.hyper(basis, information)
    count = jnp.sum(stats.count).astype(within.dtype)
    scale = count * jnp.log(2 * jnp.pi * model.noise_std**2)
    return -0.5 * (scale + within + hyper.log_det - hyper.fitted)
