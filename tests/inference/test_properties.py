"""What must hold for every log."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxbandit as jb
from tests.inference.cases import normwise

TASKS, D, RECORDS = 5, 3, 24
seeds = st.integers(0, 2**32 - 1)
few = settings(derandomize=True, max_examples=15, deadline=None)


def make(seed):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(2, D, D))
    hyper_cov, task_cov = mixing @ np.swapaxes(mixing, 1, 2) + 0.1 * np.eye(D)
    model = jb.HierarchicalGaussian(rng.normal(size=D), hyper_cov, task_cov, rng.uniform(0.2, 2))
    log = jb.BanditLog(
        rng.integers(0, TASKS, RECORDS), rng.normal(size=(RECORDS, D)), rng.normal(size=RECORDS)
    )
    return rng, model, log


def part(log, which):
    return jb.BanditLog(*(np.asarray(field)[which] for field in log))


def assert_same(first, second):
    tolerance = 1e-10 if first.mean.dtype == np.float64 else 1e-4
    for one, two in zip(first, second, strict=True):
        assert normwise(one[None], two[None]) < tolerance


@few
@given(seeds)
def test_order_of_records_does_not_matter(seed):
    rng, model, log = make(seed)
    shuffled = part(log, rng.permutation(RECORDS))
    assert_same(
        jb.task_posteriors(model, jb.task_statistics(shuffled, TASKS)),
        jb.task_posteriors(model, jb.task_statistics(log, TASKS)),
    )


@few
@given(seeds)
def test_permuting_tasks_permutes_results(seed):
    rng, model, log = make(seed)
    order = rng.permutation(TASKS)
    stats = jb.task_statistics(log, TASKS)
    renamed = jb.task_statistics(log._replace(task=order[log.task]), TASKS)
    assert_same(jb.hyper_posterior(model, renamed), jb.hyper_posterior(model, stats))
    for function in (jb.task_posteriors, jb.flat_posteriors):
        permuted = function(model, renamed)
        assert_same(jb.Gaussian(*(field[order] for field in permuted)), function(model, stats))


@few
@given(seeds)
def test_more_data_never_raises_a_variance(seed):
    _, model, log = make(seed)
    less = jb.task_statistics(part(log, np.s_[: RECORDS // 2]), TASKS)
    more = jb.task_statistics(log, TASKS)
    for function in (
        jb.hyper_posterior,
        jb.task_posteriors,
        jb.flat_posteriors,
        jb.new_task_posterior,
    ):
        before, after = (np.asarray(function(model, s).cov, float) for s in (less, more))
        smallest = np.linalg.eigvalsh(before - after)[..., 0]
        assert np.all(smallest > -2e-6 * np.max(np.abs(before)))


@few
@given(seeds, st.integers(1, RECORDS - 1))
def test_statistics_of_parts_add_up(seed, cut):
    _, _, log = make(seed)
    whole = jb.task_statistics(log, TASKS)
    parts = [jb.task_statistics(part(log, s), TASKS) for s in (np.s_[:cut], np.s_[cut:])]
    for total, one, two in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(total, one + two, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(whole.count, jnp.bincount(jnp.asarray(log.task), length=TASKS))


@few
@given(seeds)
def test_likelihood_of_parts_is_a_chain(seed):
    """Tasks 0-1 first, then the others given what those say of the hyper-parameter."""
    _, model, log = make(seed)
    stats = jb.task_statistics(log, TASKS)
    first, second = (jb.TaskStatistics(*(f[s] for f in stats)) for s in (np.s_[:2], np.s_[2:]))
    hyper = jb.hyper_posterior(model, first)
    updated = model._replace(hyper_mean=hyper.mean, hyper_cov=hyper.cov)
    whole = float(jb.log_marginal_likelihood(model, stats))
    chain = jb.log_marginal_likelihood(model, first) + jb.log_marginal_likelihood(updated, second)
    digits = float(jnp.sum(stats.square)) / float(model.noise_std) ** 2
    assert abs(whole - float(chain)) < 1e-4 * abs(whole) + 1e-5 * digits
