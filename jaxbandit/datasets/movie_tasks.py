"""Users as tasks: a multi-task bandit from a matrix of ratings (Hong et al. 2023, section 7.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxbandit.checks import InputError, check_count
from jaxbandit.datasets.factorization import Factorization
from jaxbandit.engine import draws
from jaxbandit.environments.linear_tasks import Instance, OffPolicyDesign
from jaxbandit.inference.model import HierarchicalGaussian


class MovieTasks(NamedTuple):
    """Arrays of a movie design."""

    hyper_parameter: Array
    """[features], centre of the cluster that tasks come from."""
    user: Array
    """[users, features], parameters of the users in that cluster."""
    movie: Array
    """[movies, features]."""


def movie_design(
    factorization: Factorization,
    *,
    clusters: int = 7,
    tasks: int = 100,
    actions: int = 10,
    alpha: float = 0.1,
    contexts: int = 200,
    seed: int = 0,
) -> OffPolicyDesign:
    """The problem of Hong et al. 2023, section 7.2: recommend one of some random movies to a user.

    A Gaussian mixture is fitted to the users' factors. Mean and covariance of the cluster centres
    are the hyper-prior (singular where there are fewer clusters than features); centre and
    covariance of the cluster with most users are the hyper-parameter and the task covariance. Each
    run samples its tasks from that cluster's users, without replacement.

    Args:
        factorization: users' and movies' factors, and the noise of a rating.
        clusters: components of the mixture, at least 2.
        tasks: users in a run.
        actions: movies in a context, uniform and independent.
        alpha: width of the confidence interval.
        contexts: contexts that suboptimality is averaged over.
        seed: of the mixture's initialisation.

    Raises:
        InputError: fewer users than clusters, or fewer in the largest cluster than tasks.
    """
    from sklearn.mixture import GaussianMixture

    clusters, tasks = check_count("clusters", clusters, 2), check_count("tasks", tasks)
    user = np.asarray(factorization.user, np.float64)
    if len(user) < max(clusters, tasks):
        raise InputError(
            f"the ratings have {len(user)} users, too few for {clusters} clusters and {tasks} "
            "tasks; use more ratings or fewer tasks"
        )
    mixture: Any = GaussianMixture(clusters, random_state=seed, n_init=3).fit(user)
    label = mixture.predict(user)
    largest = int(np.argmax(np.bincount(label, minlength=clusters)))
    members = user[label == largest]
    if len(members) < tasks:
        raise InputError(
            f"the largest of {clusters} clusters has {len(members)} users, fewer than the {tasks} "
            "tasks; use fewer clusters or tasks"
        )
    model = HierarchicalGaussian(
        mixture.means_.mean(axis=0),
        np.cov(mixture.means_, rowvar=False).reshape(user.shape[1], -1),
        mixture.covariances_[largest],
        np.asarray(factorization.noise_std),
    )
    arrays = MovieTasks(
        jnp.asarray(mixture.means_[largest], float),
        jnp.asarray(members, float),
        jnp.asarray(factorization.movie, float),
    )
    return OffPolicyDesign(
        model=model,
        draw_instance=_draw_users,
        draw_features=_draw_movies,
        max_tasks=tasks,
        actions=actions,
        contexts=contexts,
        alpha=alpha,
        arrays=arrays,
    )


def _draw_users(key: Array, design: OffPolicyDesign) -> Instance:
    arrays: MovieTasks = design.arrays
    order = jnp.argsort(draws.bits(key, (len(arrays.user),)))
    return Instance(arrays.hyper_parameter, arrays.user[order[: design.max_tasks]])


def _draw_movies(key: Array, design: OffPolicyDesign, shape: tuple[int, ...]) -> Array:
    arrays: MovieTasks = design.arrays
    index = jnp.floor(draws.uniform(key, shape) * len(arrays.movie)).astype(jnp.int32)
    # Gathered by coordinate, so that each coordinate lies contiguous over `shape`.
    return jnp.moveaxis(arrays.movie.T[:, index], 0, -1)
