"""Ratings of new users, predicted: a hierarchy learned from a log, at few ratings a user.

Users are split at random. The ratings of one half, the past, are factorised, which gives every
movie its features. Each user of the other half is a task: some ratings are its log, ten others are
predicted. Nothing of the new users enters the features, and nothing held out enters the fits.

HierOPO and FlatOPO have the same model: task covariance and noise fitted to the log, and a
hyper-prior of mean 0 as wide as the coefficients are large. A second FlatOPO is told more than they
are: the mean and covariance of the past users' own factors.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxbandit.datasets.factorization import factorize
from jaxbandit.datasets.movielens import Ratings, fetch_movielens, load_movielens
from jaxbandit.engine.moments import over_runs
from jaxbandit.inference.fit.empirical_bayes import fit_hierarchy
from jaxbandit.inference.model import BanditLog, HierarchicalGaussian, TaskStatistics
from jaxbandit.inference.posterior import flat_posteriors, task_posteriors
from jaxbandit.inference.statistics import task_statistics
from jaxbandit.studies.figures import FigureResult, Reporter, Settings
from jaxbandit.studies.figures.hieropo_movielens import check as check
from jaxbandit.studies.report import style
from jaxbandit.studies.report.statements import verdict

SPLITS = 10
LOGGED = (1, 2, 3, 5, 8, 10)
HELD_OUT = 10
LEAST_SQUARES = "least squares"
INFORMED = "FlatOPO, told of past users"
POLICIES = ("HierOPO", "FlatOPO", LEAST_SQUARES, INFORMED)


class Split(NamedTuple):
    """New users' ratings in random order."""

    task: np.ndarray
    feature: np.ndarray
    rating: np.ndarray
    place: np.ndarray
    """Of a rating among its user's, from 0."""
    left: np.ndarray
    """Ratings of the same user that come after it."""
    past: HierarchicalGaussian
    """Past users' factors as the marginal prior of a new one's."""


def held_out_ratings(settings: Settings, reporter: Reporter) -> FigureResult:
    """Root mean squared error of predicted ratings, against ratings logged a user."""
    splits = SPLITS if settings.runs is None else settings.runs
    ratings = load_movielens(settings.movielens or fetch_movielens(notify=reporter.notify))
    progress = reporter.progress("splits")
    errors = np.zeros((splits, len(LOGGED), len(POLICIES)))
    for run in range(splits):
        split = _split(ratings, settings.rank, seed=settings.seed + run)
        errors[run] = [_errors(split, logged) for logged in LOGGED]
        progress(run + 1, splits)
    over_splits = over_runs(errors)
    table = pl.DataFrame(
        [
            {
                "logged": logged,
                "policy": policy,
                "rmse_mean": float(over_splits.mean[i, k]),
                "rmse_sem": float(over_splits.sem[i, k]),
                "runs": splits,
            }
            for i, logged in enumerate(LOGGED)
            for k, policy in enumerate(POLICIES)
        ]
    )
    facts = {
        "runs": splits,
        "ratings": len(ratings.rating),
        "rank": settings.rank,
        "held_out": HELD_OUT,
    }
    return FigureResult(table, style.movielens_ratings(table), _findings(errors), facts)


def _split(ratings: Ratings, rank: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    users = len(ratings.user_ids)
    past = np.zeros(users, bool)
    past[rng.permutation(users)[: users // 2]] = True
    of_past = past[ratings.user]
    known = ratings._replace(
        user=ratings.user[of_past], movie=ratings.movie[of_past], rating=ratings.rating[of_past]
    )
    factors = factorize(known, rank=rank, regularizer=0.1, seed=seed)
    # Factors are known up to a scale that they share with the users'.
    movie = np.asarray(factors.movie, np.float64)
    scale = np.sqrt(np.mean(movie**2, axis=0))
    movie /= scale
    user = np.asarray(factors.user, np.float64)[past] * scale
    cov = np.cov(user, rowvar=False).reshape(rank, rank)
    prior = HierarchicalGaussian(user.mean(axis=0), 0 * cov, cov, float(factors.noise_std))
    rated = np.bincount(ratings.movie[of_past], minlength=len(movie)) > 0
    kept = rng.permutation(np.flatnonzero(~of_past & rated[ratings.movie]))
    kept = kept[np.argsort(ratings.user[kept], kind="stable")]
    _, task, count = np.unique(ratings.user[kept], return_inverse=True, return_counts=True)
    place = np.arange(len(kept)) - np.repeat(np.cumsum(count) - count, count)
    feature, rating = movie[ratings.movie[kept]], ratings.rating[kept].astype(np.float64)
    return Split(task.astype(np.int32), feature, rating, place, count[task] - 1 - place, prior)


def _errors(split: Split, logged: int) -> list[float]:
    """Root mean squared error of every policy's predictions, from so many ratings a user."""
    held_out = split.left < HELD_OUT
    train = (split.place < logged) & ~held_out
    tasks = int(split.task[-1]) + 1
    log = BanditLog(split.task[train], split.feature[train], split.rating[train])
    with jax.enable_x64(True):
        stats = task_statistics(log, tasks)
        # One rating a user says nothing of correlations.
        fit = fit_hierarchy(stats, covariance="diagonal")
        size = jnp.mean(fit.hyper_mean**2)
        prior = HierarchicalGaussian(
            jnp.zeros_like(fit.hyper_mean),
            size * jnp.eye(len(fit.hyper_mean)),
            fit.task_cov,
            fit.noise_std,
        )
        means = (
            task_posteriors(prior, stats).mean,
            flat_posteriors(prior, stats).mean,
            _least_squares(stats),
            flat_posteriors(split.past, stats).mean,
        )
        own = [np.asarray(mean)[split.task] for mean in means]
    off = (np.sum(split.feature * mean, axis=1) - split.rating for mean in own)
    return [float(np.sqrt(np.mean(error[held_out] ** 2))) for error in off]


def _least_squares(stats: TaskStatistics) -> np.ndarray:
    """Each task's least squares of smallest norm."""
    inverse = np.linalg.pinv(np.asarray(stats.gram), rcond=1e-9, hermitian=True)
    return np.einsum("sij,sj->si", inverse, np.asarray(stats.moment))


def _findings(errors: np.ndarray) -> list[str]:
    findings = []
    for k, policy in enumerate(POLICIES[1:], start=1):
        gap = errors[:, :, k] - errors[:, :, 0]
        if policy == INFORMED:
            findings.append(
                f"seen: against {policy}, the gap is "
                f"{', '.join(f'{value:.3f}' for value in np.mean(gap, axis=0))}"
            )
            continue
        findings.append(
            verdict(
                f"HierOPO's posterior mean predicts better than {policy} in every split, at "
                f"{', '.join(map(str, LOGGED))} ratings a user (mean gap "
                f"{', '.join(f'{value:.3f}' for value in np.mean(gap, axis=0))})",
                bool(np.all(gap > 0)),
            )
        )
    return findings
