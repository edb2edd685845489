"""The two-level form against the closed form, a NumPy float64 oracle, and its own limits."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import optimize, stats

import jaxbandit as jb
from tests.messages import assert_refused

X64 = jax.config.jax_enable_x64
RTOL = 1e-9 if X64 else 2e-4
TASKS, FEATURES = 5, 2


@pytest.fixture(scope="module")
def model():
    return jb.HierarchicalGaussian(
        jnp.array([1.0, -0.5]),
        jnp.array([[1.0, 0.3], [0.3, 0.5]]),
        jnp.array([[0.4, -0.1], [-0.1, 0.3]]),
        jnp.array(0.7),
    )


@pytest.fixture(scope="module")
def data():
    """Statistics of a log in which the last task has no records."""
    rng = np.random.default_rng(0)
    task, feature = rng.integers(TASKS - 1, size=40), rng.uniform(-1, 1, (40, FEATURES))
    reward = feature @ [2.0, -1.0] + rng.normal(size=40)
    return jb.task_statistics(jb.BanditLog(task, feature, reward), tasks=TASKS)


@pytest.fixture(scope="module")
def tasks(model):
    return jb.linear_gaussian(model.task_cov, model.noise_std)


def draws(seed, gaussian, *shape):
    rng = np.random.default_rng(seed)
    mean, cov = np.asarray(gaussian[0], np.float64), np.asarray(gaussian[1], np.float64)
    return jnp.asarray(rng.multivariate_normal(mean, cov, shape, method="cholesky"), float)


def assert_close(actual, expected, rtol=RTOL, atol=None):
    for have, want in zip(actual, expected, strict=True):
        np.testing.assert_allclose(have, want, rtol=rtol, atol=rtol if atol is None else atol)


# Limits and identities.


def test_one_particle_is_the_oracle(model, data, tasks):
    mu = jnp.array([0.3, 2.0])
    post = jb.marginal_posteriors(mu[None], tasks.conditional, data)
    assert_close(post, jb.oracle_posteriors(model, data, mu))


def test_weights_count_repeated_particles(data, tasks):
    particles, count = draws(1, (np.zeros(2), np.eye(2)), 4), np.array([3, 0, 1, 2])
    with np.errstate(divide="ignore"):
        weighted = jb.marginal_posteriors(particles, tasks.conditional, data, np.log(count))
    repeated = jnp.repeat(particles, count, axis=0)
    assert_close(weighted, jb.marginal_posteriors(repeated, tasks.conditional, data))


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_total_expectation_and_covariance_far_from_zero(offset):
    rng = np.random.default_rng(2)
    particles = np.asarray(jnp.asarray(offset + rng.normal(size=(3000, 3)), float), np.float64)
    log_weights = np.asarray(jnp.asarray(rng.normal(size=3000), float), np.float64)
    loading = rng.normal(size=(TASKS, 2, 3)).astype(np.float32)  # two features, three hypers

    def conditional(mu, task):
        scale = 1 + jnp.tanh(mu[0] - offset) ** 2
        return jb.Gaussian(jnp.dot(task, mu, precision="highest"), scale * jnp.eye(2))

    post = jb.marginal_posteriors(
        jnp.asarray(particles), conditional, jnp.asarray(loading), jnp.asarray(log_weights)
    )
    weight = np.exp(log_weights) / np.sum(np.exp(log_weights))
    means = np.einsum("sij,pj->psi", loading, particles)
    mean = np.einsum("p,psi->si", weight, means)
    within = np.sum(weight * (1 + np.tanh(particles[:, 0] - offset) ** 2)) * np.eye(2)
    between = np.einsum("p,psi,psj->sij", weight, means - mean, means - mean)
    assert_close(post, (mean, within + between), rtol=1e-9 if X64 else 1e-3 if offset else 1e-5)


def test_particle_of_no_weight_may_have_no_posterior(data, tasks):
    def fragile(mu, task):
        one = tasks.conditional(mu, task)
        return jb.Gaussian(jnp.where(mu[0] > 5, jnp.nan, one.mean), one.cov)

    particles = jnp.array([[9.0, 0.0], [1.0, 2.0], [8.0, 0.0]])
    weights = jnp.array([-jnp.inf, 0.0, -jnp.inf])
    post = jb.marginal_posteriors(particles, fragile, data, weights)
    assert_close(post, jb.marginal_posteriors(particles[1:2], tasks.conditional, data))
    traced = jax.jit(lambda w: jb.marginal_posteriors(particles, fragile, data, w))
    assert np.all(np.isnan(traced(weights.at[1].set(jnp.nan)).mean))


# The closed form.


def test_converges_to_the_closed_form_as_one_over_root_particles(model, data, tasks):
    """Mean squared standardised errors are 1 at every number of particles."""
    repeats, exact, hyper = 400, jb.task_posteriors(model, data), jb.hyper_posterior(model, data)
    run = jax.jit(jax.vmap(lambda p: jb.marginal_posteriors(p, tasks.conditional, data)))
    oracle = jb.oracle_posteriors(model, data, hyper.mean)
    between = np.asarray(exact.cov - oracle.cov, np.float64)  # covariance of conditional means
    variance = np.diagonal(between, axis1=1, axis2=2)
    of_cov = variance[:, :, None] * variance[:, None, :] + between**2
    for seed, count in enumerate((16, 1024)):
        post = run(draws(seed, hyper, repeats, count))
        error = np.asarray(post.mean - exact.mean) / np.sqrt(variance / count)
        assert abs(np.mean(error**2) - 1) < 5 * np.sqrt(2 / repeats)
        # The mean was fitted too: the spread of N particles is (N - 1)/N of the truth.
        expected = exact.cov - between / count
        error = np.asarray(post.cov - expected) / np.sqrt(of_cov * (count - 1)) * count
        # A square of a chi-square has heavier tails than a square of a normal.
        assert abs(np.mean(error**2) - 1) < 5 * np.sqrt((2 + 60 / count) / repeats)
        assert np.all(np.abs(np.mean(error, axis=0)) < 5 / np.sqrt(repeats))


def test_prior_draws_weighted_by_evidence_reach_the_closed_form(model, data, tasks):
    particles = draws(5, (model.hyper_mean, model.hyper_cov), 20_000)
    weights = jb.particle_log_weights(particles, tasks.log_evidence, data)
    post = jb.marginal_posteriors(particles, tasks.conditional, data, weights)
    exact = jb.task_posteriors(model, data)
    weight = np.exp(np.asarray(weights, np.float64))
    one = jax.vmap(lambda mu: jb.oracle_posteriors(model, data, mu).mean)(particles)
    change = np.asarray(one - exact.mean)
    sem = np.sqrt(np.einsum("p,psi->si", weight**2, change**2))
    assert np.all(np.abs(post.mean - exact.mean) < 4 * sem)
    outer = change[..., :, None] * change[..., None, :]
    outer -= np.einsum("p,psij->sij", weight, outer)
    sem = np.sqrt(np.einsum("p,psij->sij", weight**2, outer**2))
    assert np.all(np.abs(post.cov - exact.cov) < 4 * sem + 1e-5)
    ess = jb.effective_sample_size(weights)
    np.testing.assert_allclose(ess, 1 / np.sum(weight**2), rtol=1e-3)
    assert 200 < ess < 10_000


def test_weights_are_the_ratio_of_posterior_to_prior(model, data, tasks):
    particles = draws(6, (model.hyper_mean, model.hyper_cov), 50)
    weights = jb.particle_log_weights(particles, tasks.log_evidence, data)
    hyper = jb.hyper_posterior(model, data)
    expected = stats.multivariate_normal(*map(np.asarray, hyper)).logpdf(particles)
    expected -= stats.multivariate_normal(model.hyper_mean, model.hyper_cov).logpdf(particles)
    expected -= np.log(np.sum(np.exp(expected)))
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-8 if X64 else 2e-3)
    # Weights that particles already have: one half of the tasks, then the other.
    first, second = (jax.tree.map(lambda x, p=p: x[p], data) for p in (slice(2), slice(2, None)))
    part = jb.particle_log_weights(particles, tasks.log_evidence, first)
    both = jb.particle_log_weights(particles, tasks.log_evidence, second, part)
    np.testing.assert_allclose(both, weights, atol=1e-9 if X64 else 2e-4)


def test_linear_evidence_is_the_marginal_likelihood(model, data, tasks):
    known = model._replace(hyper_cov=jnp.zeros((2, 2)))
    expected = jb.log_marginal_likelihood(known, data)
    one = jax.vmap(tasks.log_evidence, in_axes=(None, 0))(model.hyper_mean, data)
    np.testing.assert_allclose(jnp.sum(one), expected, rtol=RTOL / 10)


def test_weights_keep_small_differences_among_many_tasks(model, tasks):
    """The evidence of 20000 tasks is of order 1e5; float32 has to keep differences near 1."""
    reward = np.float32(3 + np.random.default_rng(8).normal(size=20_000))
    feature = np.repeat([[1.0, 0.0]], 20_000, axis=0)
    data = jb.task_statistics(jb.BanditLog(np.arange(20_000), feature, reward), 20_000)
    particles = jnp.array([[1.0, 0.0], [1.00002, 0.0]])
    weights = jb.particle_log_weights(particles, tasks.log_evidence, data)
    variance = float(model.task_cov[0, 0] + model.noise_std**2)
    at, reward = np.asarray(particles, np.float64)[:, 0], np.float64(reward)
    expected = -0.5 * np.sum((reward - at[1]) ** 2 - (reward - at[0]) ** 2) / variance
    assert expected > 0.5
    tolerance = 1e-6 if X64 else 1e-3
    np.testing.assert_allclose(weights[1] - weights[0], expected, rtol=tolerance)


# Bernoulli rewards.


def bernoulli_oracle(mu, task_cov, feature, reward):
    """Mode, inverse Hessian and Laplace evidence, in float64, by a trust region."""
    mu, task_cov, feature, reward = (
        np.asarray(x, np.float64) for x in (mu, task_cov, feature, reward)
    )
    prior = np.linalg.inv(task_cov)

    def energy(theta):
        logit = feature @ theta
        loss = np.logaddexp(0, logit) - reward * logit
        return np.sum(loss) + (theta - mu) @ prior @ (theta - mu) / 2

    def gradient(theta):
        chance = 1 / (1 + np.exp(-feature @ theta))
        return feature.T @ (chance - reward) + prior @ (theta - mu)

    def hessian(theta):
        chance = 1 / (1 + np.exp(-feature @ theta))
        return feature.T @ (feature * (chance * (1 - chance))[:, None]) + prior

    found = optimize.minimize(
        energy, mu, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-6}
    ).x
    for _ in range(3):
        found = found - np.linalg.solve(hessian(found), gradient(found))
    assert np.max(np.abs(gradient(found))) < 1e-8
    log_det = np.linalg.slogdet(hessian(found))[1] + np.linalg.slogdet(task_cov)[1]
    return found, np.linalg.inv(hessian(found)), -energy(found) - 0.5 * log_det


COV = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 0.5]])


def test_laplace_is_the_float64_optimum():
    """Few and many records, wide and narrow priors, separable rewards, logits in the tens."""
    rng, longest = np.random.default_rng(3), 300
    cases = list(itertools.product((1.0, 10.0), (0.1, 1.0, 10.0), (0.5, 1.0), (0, 1, 7, longest)))
    scale, prior_std, chance, count = (jnp.asarray(x, float) for x in np.transpose(cases))
    mu = jnp.asarray(2 * rng.normal(size=(len(cases), 3)), float)
    feature = scale[:, None, None] * rng.normal(size=(len(cases), longest, 3))
    reward = jnp.asarray(rng.random((len(cases), longest)) < chance[:, None], float)
    mask = np.arange(longest) >= longest - count[:, None]
    cov = prior_std[:, None, None] ** 2 * COV

    @jax.jit
    @jax.vmap
    def run(mu, cov, *records):
        tasks, records = jb.bernoulli_laplace(cov), jb.TaskRecords(*records)
        return *tasks.conditional(mu, records), tasks.log_evidence(mu, records)

    # What stands in the padding plays no role.
    missing = jnp.where(mask, 0, jnp.nan)
    found = run(mu, cov, feature + missing[..., None], reward + missing, mask)
    for case, (mean, covariance, evidence) in enumerate(zip(*map(np.asarray, found), strict=True)):
        kept = np.asarray(mask[case])
        expected = bernoulli_oracle(mu[case], cov[case], feature[case][kept], reward[case][kept])
        # In posterior standard deviations, so that every direction counts.
        std = np.sqrt(np.diagonal(expected[1]))
        rounding = np.max(np.abs(expected[0] / std))
        np.testing.assert_allclose(
            (mean - expected[0]) / std, 0, atol=1e-9 if X64 else 2e-4 + 1e-5 * rounding
        )
        ratio = np.linalg.solve(expected[1], np.asarray(covariance, np.float64))
        np.testing.assert_allclose(ratio, np.eye(3), atol=1e-8 if X64 else 5e-3)
        np.testing.assert_allclose(evidence, expected[2], rtol=RTOL / 10, atol=RTOL)


@pytest.mark.float64
@pytest.mark.parametrize("count", [0, 1, 7])
def test_slopes_of_laplace(count):
    """In task_cov, the hyper-parameter and features, through the mode, against differences."""
    rng = np.random.default_rng(6)
    feature, mask, mu = 3 * rng.normal(size=(9, 3)), np.arange(9) < count, rng.normal(size=3)
    reward = rng.integers(2, size=9)
    ways = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(9, 3))

    @jax.jit
    def value(along):
        cov_way, mu_way, feature_way = (x * way for x, way in zip(along, ways, strict=True))
        tasks = jb.bernoulli_laplace(COV + cov_way + cov_way.T)
        records = jb.TaskRecords(feature + feature_way, reward, mask)
        mean, cov = tasks.conditional(mu + mu_way, records)
        return jnp.append(jnp.append(mean, cov), tasks.log_evidence(mu + mu_way, records))

    steps = 1e-5 * np.eye(3)
    expected = [(value(step) - value(-step)) / 2e-5 for step in steps]
    slopes = jax.jit(jax.jacrev(value))(jnp.zeros(3))
    np.testing.assert_allclose(slopes.T, expected, rtol=1e-6, atol=1e-8)


def test_laplace_evidence_is_near_the_integral():
    """One feature, 20 records: the integral over the parameter by the trapezium rule."""
    rng = np.random.default_rng(4)
    feature, reward = rng.normal(size=20), rng.random(20) < 0.5
    records = jb.TaskRecords(
        jnp.asarray(feature[:, None], float), jnp.asarray(reward, float), np.ones(20, bool)
    )
    theta = np.linspace(-12, 12, 4001)
    logit = theta[:, None] * feature
    density = stats.norm(0.5, 1.5).pdf(theta) * np.exp(
        np.sum(reward * logit - np.logaddexp(0, logit), axis=1)
    )
    tasks = jb.bernoulli_laplace(np.array([[1.5**2]]))
    evidence = tasks.log_evidence(jnp.array([0.5]), records)
    np.testing.assert_allclose(evidence, np.log(np.trapezoid(density, theta)), atol=0.05)


def test_hierarchy_beats_flat_on_bernoulli_tasks():
    """Prior draws -> weights -> marginal posteriors -> pessimistic actions; paired over runs."""
    runs, m, n, particles, d, actions = 32, 10, 4, 128, 2, 5
    hyper_std, task_std = 1.5, 0.5
    flat = jb.bernoulli_laplace((hyper_std**2 + task_std**2) * jnp.eye(d))
    hierarchical = jb.bernoulli_laplace(task_std**2 * jnp.eye(d))

    @jax.jit
    @jax.vmap
    def run(key):
        keys = jax.random.split(key, 6)
        mu = hyper_std * jax.random.normal(keys[0], (d,))
        theta = mu + task_std * jax.random.normal(keys[1], (m, d))
        feature = jax.random.uniform(keys[2], (m, n, d), minval=-1.0, maxval=1.0)
        chance = jax.nn.sigmoid(jnp.einsum("mnd,md->mn", feature, theta))
        reward = (jax.random.uniform(keys[3], (m, n)) < chance).astype(feature.dtype)
        data = jb.TaskRecords(feature, reward, jnp.ones((m, n), bool))
        candidates = hyper_std * jax.random.normal(keys[4], (particles, d))
        weights = jb.particle_log_weights(candidates, hierarchical.log_evidence, data)
        context = jax.random.uniform(keys[5], (m, 20, actions, d), minval=-1.0, maxval=1.0)
        value = jax.nn.sigmoid(jnp.einsum("mcad,md->mca", context, theta))

        def loss(posterior):
            act = jax.vmap(jb.pessimistic_action, in_axes=(0, 0, None))
            action = act(posterior, context, 0.1)
            taken = jnp.take_along_axis(value, action[..., None], -1)[..., 0]
            return jnp.mean(jnp.max(value, -1) - taken)

        hier = jb.marginal_posteriors(candidates, hierarchical.conditional, data, weights)
        alone = jb.marginal_posteriors(jnp.zeros((1, d)), flat.conditional, data)
        return loss(hier), loss(alone), jb.effective_sample_size(weights)

    hier, alone, ess = map(np.asarray, run(jax.random.split(jax.random.key(0), runs)))
    gain = alone - hier
    assert np.mean(gain) > 3 * np.std(gain, ddof=1) / np.sqrt(runs)
    assert np.median(ess) > 10


# Tracing.


def test_jit_vmap_and_eager_agree(data, tasks):
    particles = draws(7, (np.zeros(2), np.eye(2)), 3, 8)

    def both(particles):
        weights = jb.particle_log_weights(particles, tasks.log_evidence, data)
        return jb.marginal_posteriors(particles, tasks.conditional, data, weights)

    mapped = jax.jit(jax.vmap(both))(particles)
    for index in range(3):
        one = jax.tree.map(lambda x, i=index: x[i], mapped)
        assert_close(one, both(particles[index]), rtol=1e-12 if X64 else 1e-5)


def test_parameters_of_a_task_model_do_not_recompile(data):
    traces = []

    def conditional(scale, mu, task):
        traces.append(None)
        return jb.Gaussian(scale * mu, jnp.eye(2) + task.gram)

    for scale in (1.0, 2.0):
        post = jb.marginal_posteriors(
            jnp.ones((3, 2)), Partial(conditional, jnp.asarray(scale)), data
        )
        if scale == 1:
            first = len(traces)
    assert len(traces) == first
    np.testing.assert_allclose(post.mean, 2)


def test_memory_does_not_grow_with_the_particles():
    m, d, count = 200, 4, 5000
    records = jb.TaskRecords(jnp.ones((m, 3, d)), jnp.ones((m, 3)), jnp.ones((m, 3), bool))
    run = jax.jit(
        lambda p, r: jb.marginal_posteriors(p, jb.bernoulli_laplace(jnp.eye(d)).conditional, r)
    )
    used = run.lower(jnp.ones((count, d)), records).compile().memory_analysis()
    assert used.temp_size_in_bytes < 4 * count * m  # not even one number a particle and task


# Messages.


ONES = jnp.ones((3, 2))


@pytest.mark.parametrize(
    ("particles", "log_weights", "message"),
    [
        (jnp.ones(3), None, r"particles must have shape \[particles, hyper\]"),
        (jnp.ones((0, 2)), None, r"particles must not be empty, has shape \(0, 2\)"),
        (jnp.ones((3, 0)), None, r"particles must not be empty"),
        (ONES.at[1, 0].set(jnp.nan), None, r"particles must be finite, was nan at index \(1, 0\)"),
        (ONES, jnp.zeros(4), r"log_weights must have shape \[particles\] = \(3,\), was \(4,\)"),
        (ONES, jnp.zeros((3, 1)), r"log_weights must have shape"),
        (ONES, [0.0, jnp.nan, 0.0], r"log_weights must be below inf, was nan at index 1"),
        (ONES, [0.0, 0.0, jnp.inf], r"log_weights must be below inf, was inf at index 2"),
        (ONES, jnp.full(3, -jnp.inf), r"log_weights must leave some particle a weight"),
    ],
)
def test_bad_particles_are_named(data, tasks, particles, log_weights, message):
    with pytest.raises(jb.InputError, match=message):
        jb.marginal_posteriors(particles, tasks.conditional, data, log_weights)
    with pytest.raises(jb.InputError, match=message):
        jb.particle_log_weights(particles, tasks.log_evidence, data, log_weights)


@pytest.mark.parametrize("bad", [(), jnp.zeros(()), (jnp.ones(3), jnp.ones(2)), jnp.ones((0, 2))])
def test_bad_data_is_named(tasks, bad):
    for function, argument in (
        (jb.marginal_posteriors, tasks.conditional),
        (jb.particle_log_weights, tasks.log_evidence),
    ):
        with pytest.raises(
            jb.InputError, match="data must have arrays with one leading axis tasks"
        ):
            function(ONES, argument, bad)


BINARY = jb.TaskRecords(np.ones((2, 3, 2)), np.eye(3)[:2], np.ones((2, 3), bool))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            BINARY._replace(reward=np.array([[0, 1, 1], [0, 0.5, 1]])),
            r"data\.reward must be 0 or 1 for bernoulli_laplace, was 0\.5 at index \(1, 1\)",
        ),
        (BINARY._replace(reward=np.full((2, 3), np.nan)), r"data\.reward must be 0 or 1.*was nan"),
        (BINARY._replace(reward=np.ones((2, 4))), r"data\.reward must have shape .* \(2, 4\)"),
        (BINARY._replace(feature=np.ones((2, 3))), r"data\.feature must have shape"),
        (
            BINARY._replace(feature=np.ma.masked_equal(np.ones((2, 3, 2)), 1)),
            r"data\.feature has masked entries; drop them first",
        ),
        (tuple(BINARY), r"data must be TaskRecords for bernoulli_laplace, was tuple"),
    ],
)
def test_bad_binary_data_is_named(bad, message):
    tasks = jb.bernoulli_laplace(jnp.eye(2))
    assert_refused(lambda: jb.marginal_posteriors(ONES, tasks.conditional, bad), message)
    assert_refused(lambda: jb.particle_log_weights(ONES, tasks.log_evidence, bad), message)


def test_padding_and_other_task_models_may_hold_any_reward():
    tasks, padded = jb.bernoulli_laplace(jnp.eye(2)), BINARY._replace(mask=np.eye(3)[:2] > 0)
    padded = padded._replace(reward=padded.reward + np.where(padded.mask, 0, np.nan))
    assert np.all(np.isfinite(jb.marginal_posteriors(ONES, tasks.conditional, padded).mean))
    one = jax.tree.map(lambda x: x[0], BINARY)
    assert_refused(lambda: tasks.conditional(ONES[0], one._replace(reward=2 * one.reward)), "was 2")
    data = BINARY._replace(reward=np.full((2, 3), 0.5))
    jb.marginal_posteriors(ONES, lambda mu, _: jb.Gaussian(mu, jnp.eye(2)), data)


def test_bad_task_models_are_named(data):
    with pytest.raises(jb.InputError, match=r"conditional must return .* shapes \(2,\) and \(2,\)"):
        jb.marginal_posteriors(ONES, lambda mu, _: jb.Gaussian(mu, mu), data)
    with pytest.raises(jb.InputError, match=r"log_evidence must return a scalar, returned \(2,\)"):
        jb.particle_log_weights(ONES, lambda mu, _: mu, data)
    with pytest.raises(jb.InputError, match=r"task_cov must have shape"):
        jb.bernoulli_laplace(jnp.ones((2, 3)))
    with pytest.raises(jb.InputError, match=r"task_cov must be positive semi-definite"):
        jb.bernoulli_laplace(-jnp.eye(2))
    with pytest.raises(jb.InputError, match=r"noise_std must be positive"):
        jb.linear_gaussian(jnp.eye(2), 0.0)
    with pytest.raises(jb.InputError, match=r"log_weights must have shape \[particles\]"):
        jb.effective_sample_size(jnp.ones((2, 2)))
