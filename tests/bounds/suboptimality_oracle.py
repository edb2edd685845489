"""Suboptimality, its bounds and what they are made of: NumPy, float64, inverses and loops.

Imports nothing of the package.
"""

from typing import NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A model and what was logged; covariances positive definite."""

    hyper_cov: np.ndarray
    task_cov: np.ndarray
    noise_std: float
    gram: np.ndarray
    """[tasks, features, features], sums of outer products."""
    count: np.ndarray


def posterior_covs(problem):
    """[tasks, features, features], by conditioning all tasks and the hyper-parameter at once."""
    m, d = problem.gram.shape[:2]
    prior = np.linalg.inv(problem.task_cov)
    precision = np.zeros(((m + 1) * d, (m + 1) * d))
    precision[:d, :d] = np.linalg.inv(problem.hyper_cov) + m * prior
    for s in range(m):
        rows = slice((s + 1) * d, (s + 2) * d)
        precision[rows, rows] = prior + problem.gram[s] / problem.noise_std**2
        precision[rows, :d] = precision[:d, rows] = -prior
    joint = np.linalg.inv(precision)
    return np.stack([joint[(s + 1) * d : (s + 2) * d, (s + 1) * d : (s + 2) * d] for s in range(m)])


def gamma(first, second):
    """The largest g with `first - g second` positive semi-definite, by bisection."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        smallest = np.linalg.eigvalsh(first - middle * second)[0]
        low, high = (middle, high) if smallest >= -1e-13 else (low, middle)
    return low


def optimal_gram(theta, contexts):
    rows = [choices[np.argmax(choices @ theta)] for choices in contexts]
    return sum(np.outer(x, x) for x in rows) / len(rows)


def task_term(prior_cov, noise_std, count, gamma, alpha):
    d = len(prior_cov)
    smallest = np.linalg.eigvalsh(np.linalg.inv(prior_cov))[0]
    return alpha * np.sqrt(4 * d / (smallest + gamma * count / noise_std**2))


def hyper_term(problem, gamma, optimal, alpha, without=None):
    """Theorem 2's second term; `optimal` None under Assumption 4, `without` one task."""
    total = np.linalg.eigvalsh(np.linalg.inv(problem.hyper_cov))[0]
    for z, n in enumerate(problem.count):
        if z == without or n == 0 or gamma == 0:
            continue
        factor = 1.0
        if optimal is not None:
            values = np.linalg.eigvalsh(optimal[z])
            if values[0] <= 1e-12 * values[-1]:
                continue
            factor = 1 / values[0]
        widest = np.linalg.eigvalsh(problem.task_cov)[-1]
        total += 1 / (widest + problem.noise_std**2 * factor / (gamma * n))
    return alpha * np.sqrt(4 * len(problem.task_cov) / total)


def one_root(problem, gamma, optimal, alpha):
    d = len(problem.task_cov)
    widest = np.linalg.eigvalsh(problem.task_cov)[-1]
    out = []
    for s, n in enumerate(problem.count):
        unknown = (hyper_term(problem, gamma, optimal, 1.0, without=s)) ** 2 / (4 * d)
        prior = 1 / (widest + unknown)
        out.append(alpha * np.sqrt(4 * d / (prior + gamma * n / problem.noise_std**2)))
    return np.array(out)


def suboptimality(theta, estimate, cov, contexts, alpha):
    """What the pessimistic policy of one task loses, and whether all its intervals hold."""
    lost, event = 0.0, True
    for choices in contexts:
        width = alpha * np.sqrt(np.maximum(np.einsum("ai,ij,aj->a", choices, cov, choices), 0))
        value, guess = choices @ theta, choices @ estimate
        event &= bool(np.all(np.abs(value - guess) <= width * (1 + 1e-9) + 1e-12))
        lost += (value.max() - value[np.argmax(guess - width)]) / len(contexts)
    return lost, event
