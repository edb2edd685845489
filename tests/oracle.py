"""What jaxbandit should compute, the slow way: NumPy, float64, plain loops.

Nothing here comes from jaxbandit. The hyper-parameter and all task parameters are one Gaussian
vector, conditioned on one reward after another; nothing is specific to the hierarchy but the prior.
"""

from typing import NamedTuple

import numpy as np


class Conditioned(NamedTuple):
    """The joint posterior of (mu, theta_1, ..., theta_m), and how likely the rewards were."""

    mean: np.ndarray
    """[tasks + 1, features], mu first."""
    cov: np.ndarray
    """[tasks + 1, tasks + 1, features, features]."""
    log_density: float
    """Log density of all rewards, in nats."""


def joint_prior_root(hyper_cov, task_cov, tasks):
    """A root of the joint prior covariance: mu = A u, theta_s = mu + B v_s, u and v standard."""
    d = len(hyper_cov)
    shared, own = root(hyper_cov), root(task_cov)
    joint = np.zeros(((tasks + 1) * d, (tasks + 1) * d))
    for block in range(tasks + 1):
        rows = slice(block * d, (block + 1) * d)
        joint[rows, :d] = shared
        if block:
            joint[rows, rows] = own
    return joint


def condition_jointly(hyper_mean, hyper_cov, task_cov, noise_std, log, tasks):
    """Posterior of the hyper-parameter and all tasks, reward by reward.

    A reward `y = x' theta + noise` takes the root C of the covariance `C C'` to
    `C - gain C f f'` with `f = C' x` (Potter 1963), which subtracts nothing large, so float64
    stays exact to many digits however much is learned; a singular prior is nothing special.
    """
    d = len(hyper_mean)
    mean = np.tile(np.asarray(hyper_mean, float), tasks + 1)
    joint = joint_prior_root(hyper_cov, task_cov, tasks)
    variance = float(noise_std) ** 2
    log_density = 0.0
    for task, feature, reward in records_of(log):
        rows = slice((task + 1) * d, (task + 2) * d)
        seen = joint[rows].T @ feature
        predicted = seen @ seen + variance
        surprise = reward - feature @ mean[rows]
        through = joint @ seen
        mean = mean + through * (surprise / predicted)
        joint -= np.outer(through / (predicted * (1 + np.sqrt(variance / predicted))), seen)
        log_density -= 0.5 * (np.log(2 * np.pi * predicted) + surprise**2 / predicted)
    cov = (joint @ joint.T).reshape(tasks + 1, d, tasks + 1, d).transpose(0, 2, 1, 3)
    return Conditioned(mean.reshape(tasks + 1, d), cov, float(log_density))


def condition_alone(prior_mean, prior_cov, noise_std, log, tasks):
    """Posterior of every task from its own records only: means [tasks, d], covs [tasks, d, d]."""
    means, covs = [], []
    own = [[] for _ in range(tasks)]
    for task, feature, reward in records_of(log):
        own[task].append((0, feature, reward))
    for records in own:
        alone = condition_jointly(
            prior_mean, np.zeros_like(prior_cov), prior_cov, noise_std, records, tasks=1
        )
        means.append(alone.mean[1])
        covs.append(alone.cov[1, 1])
    return np.array(means), np.array(covs)


def condition_on_sums(hyper_mean, hyper_cov, task_cov, noise_std, gram, moment):
    """Posterior of every task from sums over records: means [tasks, d], covs [tasks, d, d].

    With the joint prior covariance C of all tasks, mean `mu + C (I + G C)^-1 (B - G mu)` and
    covariance `C (I + G C)^-1`.
    """
    tasks, d = moment.shape
    variance = float(noise_std) ** 2
    prior = np.kron(np.ones((tasks, tasks)), hyper_cov) + np.kron(np.eye(tasks), task_cov)
    seen = np.zeros_like(prior)
    for task in range(tasks):
        rows = slice(task * d, (task + 1) * d)
        seen[rows, rows] = np.asarray(gram[task], float) / variance
    mean = np.tile(np.asarray(hyper_mean, float), tasks)
    surprise = np.asarray(moment, float).ravel() / variance - seen @ mean
    cov = prior @ np.linalg.inv(np.eye(tasks * d) + seen @ prior)
    every = np.arange(tasks)
    blocks = cov.reshape(tasks, d, tasks, d)[every, :, every]
    return (mean + cov @ surprise).reshape(tasks, d), blocks


def textbook_posterior(hyper_mean, hyper_cov, task_cov, noise_std, log, tasks):
    """`condition_jointly` by the one formula of every textbook, all rewards at once.

    Good for small, well-scaled problems; there to hold the recursion against.
    """
    d = len(hyper_mean)
    mean = np.tile(np.asarray(hyper_mean, float), tasks + 1)
    joint = joint_prior_root(hyper_cov, task_cov, tasks)
    joint = joint @ joint.T
    rows = list(records_of(log))
    design = np.zeros((len(rows), (tasks + 1) * d))
    for row, (task, feature, _) in enumerate(rows):
        design[row, (task + 1) * d : (task + 2) * d] = feature
    reward = np.array([y for _, _, y in rows])
    marginal = design @ joint @ design.T + noise_std**2 * np.eye(len(rows))
    residual = reward - design @ mean
    gain = joint @ design.T @ np.linalg.inv(marginal)
    cov = (joint - gain @ design @ joint).reshape(tasks + 1, d, tasks + 1, d)
    log_density = -0.5 * (
        len(rows) * np.log(2 * np.pi)
        + np.linalg.slogdet(marginal)[1]
        + residual @ np.linalg.solve(marginal, residual)
    )
    mean = (mean + gain @ residual).reshape(tasks + 1, d)
    return Conditioned(mean, cov.transpose(0, 2, 1, 3), float(log_density))


def task_sums(log, tasks):
    """Gram [tasks, d, d], moment [tasks, d], square [tasks] and count [tasks], record by record."""
    rows = list(records_of(log))
    d = len(rows[0][1])
    gram, moment = np.zeros((tasks, d, d)), np.zeros((tasks, d))
    square, count = np.zeros(tasks), np.zeros(tasks, int)
    for task, feature, reward in rows:
        gram[task] += np.outer(feature, feature)
        moment[task] += feature * reward
        square[task] += reward**2
        count[task] += 1
    return gram, moment, square, count


def lower_confidence_bound(mean, cov, feature, alpha):
    """`x' m - alpha sqrt(x' C x)` of one feature vector."""
    return feature @ mean - alpha * np.sqrt(max(feature @ cov @ feature, 0.0))


def pessimistic_action(mean, cov, choices, alpha):
    """First of the actions [actions, features] with the highest lower confidence bound."""
    best, best_bound = 0, -np.inf
    for action, feature in enumerate(choices):
        bound = lower_confidence_bound(mean, cov, feature, alpha)
        if bound > best_bound:
            best, best_bound = action, bound
    return best


def mean_suboptimality(theta, means, covs, contexts, alpha):
    """Mean over tasks and contexts [contexts, actions, features] of the reward that is lost."""
    lost = []
    for parameter, mean, cov in zip(theta, means, covs, strict=True):
        for choices in contexts:
            taken = pessimistic_action(mean, cov, choices, alpha)
            lost.append(max(choices @ parameter) - choices[taken] @ parameter)
    return float(np.mean(lost))


def root(cov):
    """Any A with `A A' = cov`, of any rank; scaled first, so that small variances keep digits."""
    cov = np.asarray(cov, float)
    scale = np.sqrt(np.diagonal(cov))
    safe = np.where(scale > 0, scale, 1)
    values, vectors = np.linalg.eigh(cov / np.outer(safe, safe))
    return scale[:, None] * vectors * np.sqrt(np.maximum(values, 0))


def records_of(log):
    """A log as (task, feature, reward), float64; a list of those is passed through."""
    if isinstance(log, list):
        yield from log
        return
    task, feature, reward = (np.asarray(field) for field in log)
    for s, x, y in zip(task, feature.astype(float), reward.astype(float), strict=True):
        yield int(s), x, float(y)
