"""The fit of a hierarchy against dense Gaussian densities, statsmodels and planted parameters."""

import warnings
from typing import NamedTuple

import jax
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.inference.fit import empirical_bayes, likelihood
from tests.messages import assert_refused

TASKS = 40
FEW = 15
"""Tasks where dense matrices of all records are made: small ones, which one core does at once."""
MEAN = np.array([1.0, -0.5])
TASK_COV = np.array([[0.5, 0.2], [0.2, 0.3]])
NOISE_STD = 0.4


class Log(NamedTuple):
    task: np.ndarray
    feature: np.ndarray
    reward: np.ndarray


def draw(tasks=TASKS, records=5, seed=0, task_cov=TASK_COV, noise_std=NOISE_STD) -> Log:
    rng = np.random.default_rng([seed, tasks, records])
    theta = MEAN + rng.multivariate_normal(np.zeros(2), task_cov, tasks)
    task = np.repeat(np.arange(tasks), records)
    feature = rng.normal(size=(len(task), 2))
    noise = noise_std * rng.normal(size=len(task))
    return Log(task, feature, np.sum(feature * theta[task], axis=1) + noise)


def sums(log: Log, tasks=TASKS) -> jb.TaskStatistics:
    """Sums over records, in float64 whatever the precision in use."""
    rows = np.column_stack(log[1:])
    products = np.zeros((tasks, 3, 3))
    np.add.at(products, log.task, rows[:, :, None] * rows[:, None, :])
    count = np.bincount(log.task, minlength=tasks)
    return jb.TaskStatistics(products[:, :2, :2], products[:, :2, 2], products[:, 2, 2], count)


def dense(log: Log, task_cov, noise_std, hyper_cov, mean=None):
    """Log density of all rewards, and the hyper-mean's estimate, from the n-by-n covariance."""
    n, d = log.feature.shape
    same = log.task[:, None] == log.task
    cov = np.where(same, log.feature @ task_cov @ log.feature.T, 0) + noise_std**2 * np.eye(n)
    flat = isinstance(hyper_cov, str) and hyper_cov == "diffuse"
    if not isinstance(hyper_cov, str):
        cov = cov + log.feature @ hyper_cov @ log.feature.T
    weighted = np.linalg.solve(cov, log.feature)
    precision = log.feature.T @ weighted
    if mean is None:
        mean = np.linalg.solve(precision, weighted.T @ log.reward)
    rest = log.reward - log.feature @ mean
    value = -0.5 * (
        n * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + rest @ np.linalg.solve(cov, rest)
    )
    if flat:
        value -= 0.5 * (np.linalg.slogdet(precision)[1] - d * np.log(2 * np.pi))
    return value, mean


GIVEN = np.array([[0.7, -0.1], [-0.1, 0.2]])
PRIORS = {"diffuse": "diffuse", "fixed": "fixed", "given": GIVEN}


def assert_highest(function, point):
    """No move along one coordinate of `point` raises `function` by more than a millionth."""
    middle = function(point)
    for k in range(len(point)):
        step = np.zeros(len(point))
        step[k] = 1e-3 * max(abs(point[k]), 0.1)
        up, down = function(point + step), function(point - step)
        bend = 2 * middle - up - down
        assert bend > 0
        assert (up - down) ** 2 / (8 * bend) < 1e-6


@pytest.mark.parametrize("prior", PRIORS)
def test_fit_is_the_maximum_of_the_dense_likelihood(prior, rtol):
    log, hyper_cov = draw(FEW), PRIORS[prior]
    fit = jb.fit_hierarchy(sums(log, FEW), hyper_cov=hyper_cov)
    assert fit.report.converged
    value, mean = dense(log, *map(np.float64, fit[2:]), hyper_cov)
    assert abs(value - fit.report.log_likelihood) < rtol
    np.testing.assert_allclose(fit.hyper_mean, mean, rtol=rtol / 10)

    def by_entries(x):
        return dense(log, np.array([[x[0], x[1]], [x[1], x[2]]]), x[3], hyper_cov)[0]

    cov = np.float64(fit.task_cov)
    assert_highest(by_entries, np.array([cov[0, 0], cov[0, 1], cov[1, 1], float(fit.noise_std)]))


@pytest.mark.parametrize("prior", PRIORS)
def test_likelihood_and_derivatives_away_from_the_maximum(prior):
    log = draw(FEW)
    cov, noise_std = np.array([[0.9, -0.3], [-0.3, 0.4]]), 0.7
    hyper_cov = {"diffuse": None, "fixed": np.zeros((2, 2)), "given": GIVEN}[prior]
    with jax.enable_x64(True):
        at = likelihood.evaluate(np.zeros(2), cov, noise_std, sums(log, FEW), hyper_cov)

    def value(cov, log_variance):
        return dense(log, cov, np.exp(log_variance / 2), PRIORS[prior])[0]

    log_variance, step = 2 * np.log(noise_std), 1e-4
    assert abs(value(cov, log_variance) - at.log_likelihood) < 1e-8
    for i, j in ((0, 0), (0, 1), (1, 1)):
        move = np.zeros((2, 2))
        move[i, j] = move[j, i] = step
        slope = (value(cov + move, log_variance) - value(cov - move, log_variance)) / (2 * step)
        assert abs(slope - np.sum(at.cov_gradient * move) / step) < 1e-4
    slope = (value(cov, log_variance + step) - value(cov, log_variance - step)) / (2 * step)
    assert abs(slope - at.log_noise_gradient) < 1e-4


def test_information_is_that_of_the_dense_gaussian():
    log, noise_std = draw(FEW, records=3), 0.7
    with jax.enable_x64(True):
        at = likelihood.evaluate(np.zeros(2), TASK_COV, noise_std, sums(log, FEW), None)
    same = log.task[:, None] == log.task
    directions = []
    for move in np.array([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]], float):
        directions.append(np.where(same, log.feature @ move @ log.feature.T, 0))
    directions.append(noise_std**2 * np.eye(len(log.reward)))
    cov = np.where(same, log.feature @ TASK_COV @ log.feature.T, 0) + directions[-1]
    scaled = [np.linalg.solve(cov, move) for move in directions]
    expected = [[0.5 * np.sum(a * b.T) for b in scaled] for a in scaled]
    free = np.array([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]], float)
    actual = likelihood.expected_information(at, free, np.array([0, 0, 0, 1.0]))
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
    np.testing.assert_allclose(
        np.linalg.inv(at.hyper_mean_cov), log.feature.T @ np.linalg.solve(cov, log.feature)
    )


@pytest.mark.parametrize("reml", [True, False])
def test_statsmodels_finds_the_same(reml):
    from statsmodels.regression.mixed_linear_model import MixedLM

    log = draw(FEW)
    fit = jb.fit_hierarchy(sums(log, FEW), hyper_cov="diffuse" if reml else "fixed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its optimiser, on the way
        peer = MixedLM(log.reward, log.feature, groups=log.task, exog_re=log.feature)
        theirs = peer.fit(reml=reml, gtol=1e-8)
    assert abs(theirs.llf - fit.report.log_likelihood) < 1e-5
    np.testing.assert_allclose(fit.hyper_mean, theirs.fe_params, rtol=1e-4)
    np.testing.assert_allclose(fit.task_cov, theirs.cov_re, rtol=2e-3)
    np.testing.assert_allclose(fit.noise_std**2, theirs.scale, rtol=2e-3)
    # Its information is the observed one, ours the expected: alike, not equal.
    np.testing.assert_allclose(fit.report.standard_error.hyper_mean, theirs.bse_fe, rtol=0.02)


@pytest.mark.parametrize("structure", ["diagonal", "isotropic"])
def test_restricted_structures(structure):
    log = draw(FEW)
    fit = jb.fit_hierarchy(sums(log, FEW), covariance=structure)
    cov = np.float64(fit.task_cov)
    assert fit.report.converged
    assert cov[0, 1] == 0
    assert fit.report.standard_error.task_cov[0, 1] == 0
    assert (cov[0, 0] == cov[1, 1]) == (structure == "isotropic")

    def value(x):
        return dense(log, np.diag(np.broadcast_to(x[:-1], 2)), x[-1], "diffuse")[0]

    free = cov.diagonal()[: 2 if structure == "diagonal" else 1]
    assert_highest(value, np.append(free, float(fit.noise_std)))


def test_noise_that_is_known():
    log = draw(FEW)
    fit = jb.fit_hierarchy(sums(log, FEW), noise_std=0.6)
    assert np.float32(fit.noise_std) == np.float32(0.6)
    assert fit.report.standard_error.noise_std == 0
    cov = np.float64(fit.task_cov)

    def value(x):
        return dense(log, np.array([[x[0], x[1]], [x[1], x[2]]]), 0.6, "diffuse")[0]

    assert_highest(value, np.array([cov[0, 0], cov[0, 1], cov[1, 1]]))


def test_restarts_and_tasks_without_records_change_nothing():
    stats = sums(draw())
    fit = jb.fit_hierarchy(stats, restarts=3)
    assert len(fit.report.every_start) == 4
    np.testing.assert_allclose(fit.report.every_start, fit.report.log_likelihood, atol=1e-6)
    padded = jax.tree.map(lambda x: np.concatenate([0 * x[:1], x, 0 * x[:2]]), stats)
    alone = jb.fit_hierarchy(padded)
    assert alone.report.log_likelihood == fit.report.every_start[0]


def test_steps_that_would_lose_are_damped(monkeypatch):
    plain, dampings = empirical_bayes._step, []

    def watched(*model, damping):
        dampings.append(damping)
        return plain(*model, damping=damping)

    monkeypatch.setattr(empirical_bayes, "_step", watched)
    fit = jb.fit_hierarchy(sums(draw(FEW, records=3), FEW), restarts=4)
    assert max(dampings) > 0
    np.testing.assert_allclose(fit.report.every_start, fit.report.log_likelihood, atol=1e-6)


def test_nothing_collapses():
    log = draw()
    # Least squares gives every task the same parameter.
    for s in range(TASKS):
        own = log.feature[log.task == s]
        noise = log.reward[log.task == s]
        log.reward[log.task == s] = own @ MEAN + noise - own @ np.linalg.lstsq(own, noise)[0]
    alike = jb.fit_hierarchy(sums(log))
    assert alike.report.converged
    assert alike.report.on_floor == ("task_cov",)
    assert np.all(np.linalg.eigvalsh(np.float64(alike.task_cov)) > 0)
    jb.task_posteriors(alike, sums(draw()))
    silent = jb.fit_hierarchy(sums(draw(noise_std=0.0)), floor=0.01)
    assert "noise_std" in silent.report.on_floor
    assert silent.noise_std > 0


def test_diffuse_posteriors_know_how_uncertain_the_hyper_parameter_is(x64):
    stats = sums(draw())
    fit = jb.fit_hierarchy(stats)
    hyper = jb.hyper_posterior(fit, stats)
    error = fit.report.standard_error.hyper_mean
    np.testing.assert_allclose(np.sqrt(np.diagonal(hyper.cov)), error, rtol=1e-5 if x64 else 1e-3)
    np.testing.assert_allclose(hyper.mean, fit.hyper_mean, rtol=1e-4)
    known = jb.fit_hierarchy(stats, hyper_cov="fixed")
    assert not np.any(jb.hyper_posterior(known, stats).cov)


def test_estimates_close_in_as_tasks_grow():
    errors = []
    for tasks in (100, 1000, 4000):
        fit = jb.fit_hierarchy(sums(draw(tasks, seed=3), tasks))
        error, std = fit.report.standard_error, []
        for name, truth in (("hyper_mean", MEAN), ("task_cov", TASK_COV), ("noise_std", NOISE_STD)):
            off = (np.float64(getattr(fit, name)) - truth) / getattr(error, name)
            assert np.max(np.abs(off)) < 3.5, (tasks, name)
            std.append(np.max(getattr(error, name)))
        errors.append(std)
    # Standard errors fall as one over the root of the number of tasks.
    np.testing.assert_allclose(
        np.array(errors[1:]) / errors[0], np.sqrt([[0.1] * 3, [0.025] * 3]), rtol=0.25
    )


def test_standard_errors_are_those_of_the_estimates():
    fits = [jb.fit_hierarchy(sums(draw(seed=seed))) for seed in range(100)]
    for name in ("hyper_mean", "task_cov", "noise_std"):
        spread = np.std([getattr(fit, name) for fit in fits], axis=0)
        said = np.mean([getattr(fit.report.standard_error, name) for fit in fits], axis=0)
        # The standard deviation of 100 numbers is known to 7 %.
        np.testing.assert_allclose(spread, said, rtol=0.25)


def test_float32_sums_give_the_same():
    stats = sums(draw())
    single = stats._replace(**{k: np.float32(getattr(stats, k)) for k in stats._fields[:3]})
    fit, coarse = jb.fit_hierarchy(stats), jb.fit_hierarchy(single)
    for name in fit._fields:
        np.testing.assert_allclose(getattr(coarse, name), getattr(fit, name), rtol=1e-4)


def repeated(feature):
    log = draw()
    return sums(log._replace(feature=feature(log.feature)))


BAD = {
    "one task": (
        lambda: jb.fit_hierarchy(jax.tree.map(lambda x: x[:1], sums(draw()))),
        "records of at least two tasks, have 1",
    ),
    "no rewards": (
        lambda: jb.fit_hierarchy(sums(draw()._replace(reward=np.zeros(TASKS * 5)))),
        "rewards are constant, or an exact linear function",
    ),
    "collinear": (
        lambda: jb.fit_hierarchy(repeated(lambda x: np.column_stack([x[:, 0], 3 * x[:, 0]]))),
        "feature 1 is always zero or a linear combination",
    ),
    "zero": (
        lambda: jb.fit_hierarchy(repeated(lambda x: x * [0, 1])),
        "feature 0 is always zero",
    ),
    "one record a task, with a constant": (
        lambda: jb.fit_hierarchy(
            sums(
                draw(records=1)._replace(
                    feature=np.column_stack([np.ones(TASKS), draw(records=1).feature[:, 0]])
                )
            )
        ),
        "cannot tell noise_std from task_cov.*give noise_std",
    ),
    "never together": (
        lambda: jb.fit_hierarchy(repeated(lambda x: x * np.eye(2)[draw().task % 2])),
        "does not determine every entry of task_cov.*'diagonal'",
    ),
    "structure": (
        lambda: jb.fit_hierarchy(sums(draw()), covariance="round"),
        "covariance must be one of full, diagonal, isotropic, was 'round'",
    ),
    "prior": (lambda: jb.fit_hierarchy(sums(draw()), hyper_cov="flat"), "hyper_cov must be"),
    "noise": (lambda: jb.fit_hierarchy(sums(draw()), noise_std=0.0), "noise_std must be positive"),
    "floor": (lambda: jb.fit_hierarchy(sums(draw()), floor=0.0), "floor must lie strictly between"),
    "high floor": (lambda: jb.fit_hierarchy(sums(draw()), floor=2.0), "floor must.*was 2.0"),
    "floors": (lambda: jb.fit_hierarchy(sums(draw()), floor=[0.1, 0.1]), "floor must have shape"),
    "seed": (lambda: jb.fit_hierarchy(sums(draw()), seed=-1), "seed must be a whole number"),
    "restarts": (lambda: jb.fit_hierarchy(sums(draw()), restarts=-1), "restarts must be"),
    "nan": (
        lambda: jb.fit_hierarchy(sums(draw())._replace(square=np.full(TASKS, np.nan))),
        "stats.square must be finite",
    ),
    "nan gram": (
        lambda: jb.fit_hierarchy(sums(draw())._replace(gram=np.full((TASKS, 2, 2), np.nan))),
        "stats.gram must be finite",
    ),
    "nan moment": (
        lambda: jb.fit_hierarchy(sums(draw())._replace(moment=np.full((TASKS, 2), np.nan))),
        "stats.moment must be finite",
    ),
    "traced": (lambda: jax.jit(jb.fit_hierarchy)(sums(draw())), "outside jax.jit"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    assert_refused(*BAD[name])
