"""Calls in a process that was forked: `python -m tests.forked used`, or `unused`.

Nothing here uses a device when it is imported.
"""

import os
import sys
import warnings
from functools import cache

import jax
import numpy as np

import jaxbandit as jb

MODEL = jb.HierarchicalGaussian(np.zeros(1), np.eye(1), np.eye(1), 0.5)
LOG = jb.BanditLog(np.arange(4) % 2, np.ones((4, 1)), np.array([0.0, 1.0, 2.0, 4.0]))
STATS = jb.TaskStatistics(np.full((2, 1, 1), 2.0), np.ones((2, 1)), np.ones(2), np.full(2, 2))


@cache
def key():
    """Asked of JAX itself, which waits for ever in a broken fork."""
    return jax.random.key(0)


IN_A_FORK = {
    "simulate": lambda: jb.simulate(
        key(), {"ucb": jb.ucb()}, jb.bernoulli_arms([0.5, 0.4]), horizon=5, runs=3
    ),
    "rollout": lambda: jb.rollout(key(), jb.ucb(), jb.bernoulli_arms([0.5, 0.4]), horizon=5),
    "synthetic_design": jb.synthetic_design,
    "confidence": jb.confidence,
    "task_statistics": lambda: jb.task_statistics(LOG, 2),
    "empty_statistics": lambda: jb.empty_statistics(2, 1),
    "task_posteriors": lambda: jb.task_posteriors(MODEL, STATS),
    "flat_posteriors": lambda: jb.flat_posteriors(MODEL, STATS),
    "hyper_posterior": lambda: jb.hyper_posterior(MODEL, STATS),
    "log_marginal_likelihood": lambda: jb.log_marginal_likelihood(MODEL, STATS),
    "fit_hierarchy": lambda: jb.fit_hierarchy(STATS),
    "fit_hierarchy_mixture": lambda: jb.fit_hierarchy_mixture(STATS, clusters=1),
    "ucb_regret": lambda: jb.bounds.ucb_regret([0.5, 0.4], [1, 1], 100),
    "flatopo_bound": lambda: jb.bounds.flatopo_bound(MODEL, [2, 2], 1.0, 0.1),
}


def main():
    warnings.simplefilter("ignore")  # JAX and Python warn of forks.
    if sys.argv[1] == "used":
        key()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    for name, call in IN_A_FORK.items():
        try:
            call()
            print(name, "computed", flush=True)
        except ValueError as error:
            print(name, type(error).__name__, error, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
