"""Posteriors against dense conditioning of the joint Gaussian (`tests/oracle.py`).

A normwise relative error of 1e-10 in float64 and 1e-4 in float32 is asked of every mean and
covariance, and float32 means may be off by a hundredth of a posterior standard deviation at most.

One allowance: where a task has seen much of some directions and nothing of others, and its prior
is wide, float32 sums do not hold the answer to four digits, whoever computes it. There the error
may be a few times what one rounding of each sum costs a float64 computation (`Error.of_rounding`).
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import programs, threads
from jaxbandit.inference import recursive, whitened
from jaxbandit.linalg import packed
from tests import oracle
from tests.inference.cases import KINDS, TASKS, Case, make_case, normwise

CASES = [(kind, d) for d in TASKS for kind in KINDS]


class Solved(NamedTuple):
    case: Case
    stats: jb.TaskStatistics
    truth: oracle.Conditioned


@cache
def solved(kind: str, d: int) -> Solved:
    case = make_case(kind, d)
    truth = oracle.condition_jointly(*case.model, case.log, case.tasks)
    return Solved(case, jb.task_statistics(case.log, case.tasks), truth)


def task_covs(truth: oracle.Conditioned) -> np.ndarray:
    tasks = np.arange(1, len(truth.mean))
    return truth.cov[tasks, tasks]


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_hyper_posterior(kind, d, rtol):
    case, stats, truth = solved(kind, d)
    hyper = jb.hyper_posterior(case.model, stats)
    assert normwise(hyper.mean[None], truth.mean[:1]) < rtol
    if np.any(case.model.hyper_cov):
        assert normwise(hyper.cov[None], truth.cov[0, :1]) < rtol
    else:
        assert not np.any(hyper.cov)


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_task_posteriors(kind, d, rtol):
    case, stats, truth = solved(kind, d)
    post = jb.task_posteriors(case.model, stats)
    assert_posteriors(post, (truth.mean[1:], task_covs(truth)), case.model, case, rtol)


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_oracle_posteriors(kind, d, rtol):
    case, stats, _ = solved(kind, d)
    hyper_parameter = case.model.hyper_mean + case.model.hyper_mean[::-1]
    post = jb.oracle_posteriors(case.model, stats, hyper_parameter)
    assert_alone(post, case, hyper_parameter, case.model.task_cov, rtol)


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_flat_posteriors(kind, d, rtol):
    case, stats, _ = solved(kind, d)
    prior = np.asarray(case.model.hyper_cov, float) + case.model.task_cov
    assert_alone(jb.flat_posteriors(case.model, stats), case, case.model.hyper_mean, prior, rtol)


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_new_task_posterior(kind, d, rtol):
    case, stats, truth = solved(kind, d)
    new = jb.new_task_posterior(case.model, stats)
    # Task 0 has no record, so what is known of it is what is known of a new one.
    assert normwise(new.mean[None], truth.mean[1:2]) < rtol
    assert normwise(new.cov[None], truth.cov[1, 1:2]) < rtol


@pytest.mark.filterwarnings("ignore:the log marginal likelihood is off")
@pytest.mark.parametrize(("kind", "d"), CASES)
def test_log_marginal_likelihood(kind, d, rtol):
    case, stats, truth = solved(kind, d)
    value = float(jb.log_marginal_likelihood(case.model, stats))
    # A sum of squares has so many digits, and is all that is known of the rewards' size.
    digits = 16 * eps() * float(np.sum(stats.square)) / float(case.model.noise_std) ** 2
    assert abs(value - truth.log_density) < rtol * abs(truth.log_density) + digits


class Error(NamedTuple):
    """Largest errors over tasks."""

    mean: float
    """Normwise relative."""
    cov: float
    """Normwise relative."""
    std: float
    """Of the mean, in posterior standard deviations."""

    @classmethod
    def of(cls, actual, truth) -> "Error":
        std = np.sqrt(np.diagonal(truth[1], axis1=1, axis2=2))
        off = np.abs(np.asarray(actual[0], float) - truth[0]) / std
        return cls(normwise(actual[0], truth[0]), normwise(actual[1], truth[1]), float(np.max(off)))

    @classmethod
    def of_rounding(cls, model, case, truth) -> "Error":
        """The largest of ten, each with every sum off by at most a float32 rounding."""
        if jnp.result_type(float) == jnp.float64:
            return cls(0, 0, 0)
        gram, moment, _, _ = oracle.task_sums(case.log, case.tasks)
        rng = np.random.default_rng(0)
        errors = []
        for _ in range(10):
            noise = 1 + eps() * rng.uniform(-1, 1, gram.shape)
            rounded = gram * (noise + noise.swapaxes(1, 2)) / 2
            off = moment * (1 + eps() * rng.uniform(-1, 1, moment.shape))
            errors.append(cls.of(oracle.condition_on_sums(*model, rounded, off), truth))
        return cls(*np.max(errors, axis=0))


def assert_posteriors(post, truth, model, case, rtol) -> None:
    error, rounding = Error.of(post, truth), Error.of_rounding(model, case, truth)
    assert error.mean < rtol + 3 * rounding.mean
    assert error.cov < rtol + 3 * rounding.cov
    assert error.std < max(0.01, 3 * rounding.std)


def assert_alone(post, case, prior_mean, prior_cov, rtol) -> None:
    truth = oracle.condition_alone(
        prior_mean, prior_cov, case.model.noise_std, case.log, case.tasks
    )
    model = (prior_mean, np.zeros_like(prior_cov), prior_cov, case.model.noise_std)
    assert_posteriors(post, truth, model, case, rtol)


def eps() -> float:
    return float(jnp.finfo(jnp.result_type(float)).eps)


# Blocks, recursions and transformations.


@pytest.fixture(scope="module")
def small() -> Solved:
    return solved("plain", 2)


def moments(shared, piece):
    return piece.rows.moment


def test_tasks_in_pieces(rtol, monkeypatch):
    """Eager calls share pieces of the tasks out among threads, traced ones are one program."""
    monkeypatch.setattr(whitened, "_BLOCKS", 2)
    case = make_case("plain", 20)
    tasks = 5 * packed.block_size(20) - 20  # three pieces, the last overlaps
    rng = np.random.default_rng(0)
    task, feature = rng.integers(0, tasks, 3 * tasks), rng.normal(size=(3 * tasks, 20))
    # Means far from zero, so that their rounding is small beside them.
    reward = feature @ np.linspace(1, 2, 20) + rng.normal(size=3 * tasks)
    stats = jb.task_statistics(jb.BanditLog(task, feature, reward), tasks)
    assert len(threads.each(moments, case.model, stats, whitened.piece_size(stats))) == 3
    functions = (
        jb.task_posteriors,
        jb.flat_posteriors,
        lambda model, stats: jb.oracle_posteriors(model, stats, jnp.ones(20)),
        jb.hyper_information,
        jb.hyper_posterior,
    )
    for function in functions:
        pieces, whole = function(case.model, stats), jax.jit(function)(case.model, stats)
        for one, two in zip(pieces, whole, strict=True):
            assert one.dtype == two.dtype
            assert normwise(one[None], two[None]) < rtol
        with monkeypatch.context() as one_thread:
            one_thread.setattr(threads, "usable_cores", lambda: 0)
            again = function(case.model, stats)
        for one, two in zip(pieces, again, strict=True):
            np.testing.assert_array_equal(one, two)


def test_derivatives_of_what_else_is_in_pieces(monkeypatch, rtol):
    monkeypatch.setattr(whitened, "_BLOCKS", 1)
    monkeypatch.setattr(packed, "_BLOCK_ENTRIES", 1)
    case = make_case("plain", 2)
    many = jax.tree.map(
        lambda x: jnp.concatenate([x] * 60), jb.task_statistics(case.log, case.tasks)
    )
    assert len(threads.each(moments, case.model, many, whitened.piece_size(many))) > 1

    def mean(function, mu):
        return jnp.mean(function(case.model._replace(hyper_mean=mu), many).mean)

    mu = jnp.asarray(case.model.hyper_mean, float)
    for function in (jb.task_posteriors, jb.flat_posteriors):
        slope = jax.grad(lambda mu, function=function: mean(function, mu))(mu)
        step = mean(function, mu + 0.5) - mean(function, mu - 0.5)  # linear in mu
        np.testing.assert_allclose(jnp.sum(slope), step, rtol=100 * rtol)
    slope = jax.grad(lambda mu: jnp.mean(jb.oracle_posteriors(case.model, many, mu).mean))(mu)
    assert bool(jnp.all(slope > 0))


def test_many_tasks_are_handled_as_few(rtol):
    tasks = 2 * packed.block_size(2) + 4  # the last block overlaps; four equal parts
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(3 * tasks, 2))
    log = jb.BanditLog(rng.integers(0, tasks, 3 * tasks), feature, rng.normal(size=3 * tasks))
    model = make_case("plain", 2).model
    stats = jb.task_statistics(log, tasks)
    mu = jnp.ones(2)
    many = {
        "task": jb.task_posteriors(model, stats),
        "flat": jb.flat_posteriors(model, stats),
        "oracle": jb.oracle_posteriors(model, stats, mu),
    }
    information = jb.hyper_information(model, stats)
    likelihood = jb.log_marginal_likelihood(model, stats)
    # The same sums a second way: part by part, each smaller than a block.
    parts = [
        jax.tree.map(lambda x, a=a: x[a : a + tasks // 4], stats)
        for a in range(0, tasks, tasks // 4)
    ]
    pieces = [jb.hyper_information(model, part) for part in parts]
    total = jax.tree.map(lambda *x: sum(x), *pieces)
    for one, two in zip(information, total, strict=True):
        assert normwise(one[None], two[None]) < rtol
    hyper = jb.hyper_posterior_from(model, total)
    inside = [
        jb.task_posteriors(model._replace(hyper_mean=hyper.mean, hyper_cov=hyper.cov * 0), part)
        for part in parts
    ]
    expected = np.concatenate([p.mean for p in inside])
    assert normwise(many["task"].mean[None], expected[None]) < rtol
    for name, function, extra in (
        ("flat", jb.flat_posteriors, ()),
        ("oracle", jb.oracle_posteriors, (mu,)),
    ):
        piece = [function(model, part, *extra) for part in parts]
        for field in ("mean", "cov"):
            expected = np.concatenate([getattr(p, field) for p in piece])
            assert normwise(getattr(many[name], field)[None], expected[None]) < rtol
    # The chain rule over tasks: each part given the parts before it.
    chained, seen = 0.0, None
    for part in parts:
        prior = model
        if seen is not None:
            before = jb.hyper_posterior_from(model, seen)
            prior = model._replace(hyper_mean=before.mean, hyper_cov=before.cov)
        chained += float(jb.log_marginal_likelihood(prior, part))
        seen = jb.scan_hyper_information(model, part, seen)
    assert float(likelihood) == pytest.approx(chained, rel=rtol)


@pytest.mark.parametrize("d", [4, 20])
def test_recursion_over_tasks_is_the_reduction(d, rtol):
    case, stats, _ = solved("plain", d)
    whole = jb.hyper_information(case.model, stats)
    first, second = (jax.tree.map(lambda x, s=s: x[s], stats) for s in (np.s_[:3], np.s_[3:]))
    step = jb.scan_hyper_information(case.model, first)
    for scanned in (
        jb.scan_hyper_information(case.model, stats),
        jb.scan_hyper_information(case.model, second, initial=step),
    ):
        for one, two in zip(scanned, whole, strict=True):
            assert normwise(one[None], two[None]) < rtol
    direct = jb.hyper_posterior(case.model, stats)
    for one, two in zip(jb.hyper_posterior_from(case.model, whole), direct, strict=True):
        np.testing.assert_array_equal(one, two)


def test_under_vmap_and_jit(small, rtol):
    """Over designs, each function gives what a loop gives."""
    case, stats, _ = small
    scales = jnp.array([1.0, 2.0, 0.5])

    def everything(scale):
        model = jb.HierarchicalGaussian(*case.model)._replace(
            hyper_cov=case.model.hyper_cov * scale, noise_std=scale
        )
        return (
            jb.hyper_posterior(model, stats),
            jb.task_posteriors(model, stats),
            jb.flat_posteriors(model, stats),
            jb.oracle_posteriors(model, stats, jnp.ones(2) * scale),
            jb.new_task_posterior(model, stats),
            jb.scan_hyper_information(model, stats),
            jb.log_marginal_likelihood(model, stats),
        )

    mapped = jax.jit(jax.vmap(everything))(scales)
    loop = [everything(scale) for scale in np.asarray(scales)]
    for index, single in enumerate(loop):
        for one, two in zip(jax.tree.leaves(mapped), jax.tree.leaves(single), strict=True):
            assert normwise(one[index][None], two[None]) < rtol


def test_mapped_over_models_they_lend_no_threads():
    """Programs that call LAPACK for a batch can wait for each other for ever."""
    case, stats, _ = solved("plain", 2)

    def everything(model, stats):
        return (
            jb.hyper_posterior(model, stats),
            jb.task_posteriors(model, stats),
            jb.flat_posteriors(model, stats),
            jax.grad(jb.log_marginal_likelihood)(model, stats),
            recursive.believe(model, stats),
        )

    def text(function):
        models = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 3), case.model)
        return jax.jit(jax.vmap(function, in_axes=(0, None))).lower(models, stats).as_text()

    assert not programs.lends_threads(text(everything))
    assert programs.lends_threads(text(lambda model, _: jnp.linalg.cholesky(model.task_cov)))


# Limits.


def test_no_data_gives_the_prior(rtol):
    model = make_case("plain", 2).model
    stats = jb.empty_statistics(50, 2)
    hyper, post = jb.hyper_posterior(model, stats), jb.task_posteriors(model, stats)
    assert normwise(hyper.cov[None], model.hyper_cov[None]) < rtol
    assert normwise(post.mean, np.tile(model.hyper_mean, (50, 1))) < rtol
    assert normwise(post.cov, np.tile(model.hyper_cov + model.task_cov, (50, 1, 1))) < rtol
    assert float(jb.log_marginal_likelihood(model, stats)) == pytest.approx(0, abs=1e-5)


def test_much_data_gives_the_truth(rtol):
    model = make_case("plain", 2).model
    theta = np.array([[1.0, -2.0], [0.5, 3.0]])
    gram = np.tile(1e6 * np.eye(2), (2, 1, 1))
    stats = jb.TaskStatistics(gram, 1e6 * theta, 1e6 * np.sum(theta**2, axis=1), np.full(2, 10**6))
    for post in (jb.task_posteriors(model, stats), jb.flat_posteriors(model, stats)):
        np.testing.assert_allclose(post.mean, theta, atol=1e-5)
        assert np.max(np.abs(post.cov)) < 1e-6


def test_many_well_known_tasks_give_the_hyper_parameter():
    """Hyper-posterior of m tasks known exactly: their mean, with covariance task_cov / m."""
    m, rng = 4000, np.random.default_rng(0)
    model = jb.HierarchicalGaussian(np.zeros(2), 100 * np.eye(2), np.eye(2), 0.1)
    theta = rng.normal([2.0, -1.0], 1.0, (m, 2))
    stats = jb.TaskStatistics(
        np.tile(1e4 * np.eye(2), (m, 1, 1)), 1e4 * theta, np.zeros(m), np.full(m, 10_000)
    )
    hyper = jb.hyper_posterior(model, stats)
    np.testing.assert_allclose(hyper.mean, theta.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(hyper.cov, np.eye(2) / m, rtol=1e-3, atol=1e-8)


def test_a_model_of_whole_numbers():
    model = jb.HierarchicalGaussian([0, 0], np.eye(2, dtype=int), np.eye(2, dtype=int), 1)
    stats = jb.task_statistics(jb.BanditLog([0], [[1, 0]], [3]), tasks=2)
    np.testing.assert_allclose(jb.hyper_posterior(model, stats).mean, [1, 0], atol=1e-6)
