"""Mixtures of hierarchies, against dense densities and planted clusters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as scipy_stats

import jaxbandit as jb
from jaxbandit.inference.fit import mixture as mixture_fit
from tests.messages import assert_refused

CENTRES = np.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.5]])
COV = 0.1 * np.array([[[2, 1], [1, 1]], [[1, 0], [0, 3]], [[1, -0.5], [-0.5, 1]]])
WEIGHT = np.array([0.5, 0.3, 0.2])
NOISE_STD = 0.5


def draw(tasks=150, records=6, seed=0):
    """Records, cluster of each task, and the sums."""
    rng = np.random.default_rng(seed)
    cluster = rng.choice(3, tasks, p=WEIGHT)
    theta = np.array([rng.multivariate_normal(CENTRES[c], COV[c]) for c in cluster])
    feature = rng.normal(size=(tasks, records, 2))
    reward = np.einsum("sni,si->sn", feature, theta) + NOISE_STD * rng.normal(size=(tasks, records))
    stats = jb.TaskStatistics(
        np.einsum("sni,snj->sij", feature, feature),
        np.einsum("sni,sn->si", feature, reward),
        np.sum(reward**2, axis=1),
        np.full(tasks, records),
    )
    return feature, reward, cluster, stats


def log_densities(feature, reward, mean, cov, noise_std):
    """[tasks, clusters]"""
    noise = noise_std**2 * np.eye(len(reward[0]))
    return np.array(
        [
            [
                scipy_stats.multivariate_normal(x @ m, x @ c @ x.T + noise).logpdf(y)
                for m, c in zip(mean, cov, strict=True)
            ]
            for x, y in zip(feature, reward, strict=True)
        ]
    )


@pytest.mark.slow  # many fits
def test_planted_clusters_are_found():
    feature, reward, cluster, stats = draw()
    mixture = jb.fit_hierarchy_mixture(stats, clusters=3)
    assert mixture.converged
    np.testing.assert_allclose(mixture.hyper_mean, CENTRES, atol=0.2)
    np.testing.assert_allclose(mixture.weight, np.bincount(cluster) / len(cluster), atol=0.03)
    np.testing.assert_allclose(mixture.task_cov, COV, atol=0.12)
    np.testing.assert_allclose(mixture.noise_std, NOISE_STD, rtol=0.1)
    assert np.mean(np.argmax(mixture.assignment, axis=1) == cluster) > 0.97
    # Likelihood and assignment are those of the dense densities at what was found.
    parts = (np.float64(part) for part in mixture[1:4])
    joint = np.log(np.float64(mixture.weight)) + log_densities(feature, reward, *parts)
    total = np.logaddexp.reduce(joint, axis=1)
    assert np.sum(total) == pytest.approx(mixture.log_likelihood, abs=1e-2)
    np.testing.assert_allclose(mixture.assignment, np.exp(joint - total[:, None]), atol=1e-3)
    # No other parameters nearby are better.
    for scale in (0.97, 1.03):
        moved = np.float64(mixture.task_cov) * scale
        there = log_densities(feature, reward, mixture.hyper_mean, moved, mixture.noise_std)
        there = np.logaddexp.reduce(np.log(np.float64(mixture.weight)) + there, axis=1)
        assert np.sum(there) < np.sum(total)


def test_every_step_gains():
    *_, stats = draw(seed=1)
    with jax.enable_x64(True):
        state = mixture_fit._State(
            jnp.full(3, 1 / 3), jnp.asarray(0.3 * CENTRES), jnp.asarray(10 * COV), jnp.asarray(1.0)
        )
        values = []
        for _ in range(15):
            state, _, value = mixture_fit._em_step(
                state, jax.tree.map(jnp.asarray, stats), 1e-3 * jnp.eye(2)
            )
            values.append(float(value))
    assert np.all(np.diff(values) > 0)


def test_one_cluster_is_a_hierarchy():
    *_, stats = draw()
    mixture = jb.fit_hierarchy_mixture(stats, clusters=1, floor=1e-6, restarts=1)
    fit = jb.fit_hierarchy(stats, hyper_cov="fixed")
    assert fit.report.log_likelihood == pytest.approx(mixture.log_likelihood, abs=1e-4)
    np.testing.assert_allclose(mixture.hyper_mean[0], fit.hyper_mean, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mixture.task_cov[0], fit.task_cov, rtol=1e-3, atol=1e-3)


def test_the_centres_are_the_hyper_prior():
    *_, stats = draw()
    mixture = jb.fit_hierarchy_mixture(stats, clusters=3)
    model = mixture.hierarchy(1)
    centres = np.float64(mixture.hyper_mean)
    np.testing.assert_allclose(model.hyper_mean, centres.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.hyper_cov, np.cov(centres, rowvar=False), rtol=1e-5)
    np.testing.assert_array_equal(model.task_cov, mixture.task_cov[1])
    jb.task_posteriors(model, stats)


def log_of_clusters(seed, clusters=7, features=4, tasks=300):
    """Sums of tasks of 5 to 19 records in clusters, closer or farther apart from seed to seed."""
    rng = np.random.default_rng(1000 + seed)
    separation = (0.6, 1.0, 1.5, 2.5, 4.0)[seed % 5]
    centre = separation * rng.normal(size=(clusters, features))
    root = 0.5 * rng.normal(size=(clusters, features, features)) / np.sqrt(features)
    root += 0.2 * np.eye(features)
    cluster = rng.choice(clusters, tasks, p=rng.dirichlet(np.full(clusters, 3.0)))
    theta = centre[cluster]
    theta = theta + np.einsum("sij,sj->si", root[cluster], rng.normal(size=theta.shape))
    count = rng.integers(5, 20, size=tasks)
    sums = []
    for parameter, records in zip(theta, count, strict=True):
        feature = rng.normal(size=(records, features))
        reward = feature @ parameter + NOISE_STD * rng.normal(size=records)
        sums.append((feature.T @ feature, feature.T @ reward, reward @ reward, records))
    return jb.TaskStatistics(*(np.array(part) for part in zip(*sums, strict=True)))


def best_of_plain_starts(stats, clusters, starts, floor=0.05):
    """Highest log-likelihood that EM climbs to from centres at random tasks."""
    rng, single = np.random.default_rng(99), jb.fit_hierarchy(stats, hyper_cov="fixed")
    with jax.enable_x64(True):
        whole = jb.HierarchicalGaussian(*(jnp.asarray(part, float) for part in single))
        data = jax.tree.map(jnp.asarray, stats)
        estimate = np.asarray(jb.task_posteriors(whole, data).mean)
        least = floor * np.linalg.cholesky(np.asarray(whole.task_cov))
        floors = mixture_fit._Floor(jnp.asarray(least), floor * whole.noise_std)
        heights = []
        for _ in range(starts):
            state = mixture_fit._State(
                jnp.full(clusters, 1 / clusters),
                jnp.asarray(estimate[rng.choice(len(estimate), clusters, replace=False)]),
                jnp.broadcast_to(whole.task_cov, (clusters, *whole.task_cov.shape)),
                whole.noise_std,
            )
            end = mixture_fit._climb(state, data, floors, 1e-3, 2000)
            heights.append(float(end.value))
    return max(heights)


def test_the_best_maximum_is_found():
    stats = log_of_clusters(3)
    mixture = jb.fit_hierarchy_mixture(stats, clusters=7)
    assert mixture.converged
    assert mixture.log_likelihood > best_of_plain_starts(stats, 7, starts=10) - 0.5


@pytest.mark.slow  # a hundred fits of each log
@pytest.mark.parametrize("seed", range(15))
def test_no_start_of_a_hundred_is_better_or_the_fit_says_so(seed):
    stats = log_of_clusters(seed)
    mixture = jb.fit_hierarchy_mixture(stats, clusters=7)
    best = best_of_plain_starts(stats, 7, starts=100)
    assert mixture.log_likelihood > best - 0.5 or not mixture.converged


def test_starts_that_disagree_are_not_converged(monkeypatch):
    stats = log_of_clusters(0)
    monkeypatch.setattr(mixture_fit, "_SWAPS", 0)  # searches that find the start's maximum
    mixture = jb.fit_hierarchy_mixture(stats, clusters=7, restarts=3)
    heights = np.array(mixture.every_start)
    assert len(heights) == 3
    assert heights.max() == mixture.log_likelihood
    assert mixture.agreeing == np.sum(heights >= heights.max() - 0.5) == 1
    assert not mixture.converged


def test_one_start_cannot_agree_and_few_steps_do_not_settle():
    *_, stats = draw()
    alone = jb.fit_hierarchy_mixture(stats, clusters=3, restarts=1)
    assert alone.agreeing == len(alone.every_start) == 1
    assert alone.gain_left <= 1e-6
    assert not alone.converged
    short = jb.fit_hierarchy_mixture(stats, clusters=3, max_iterations=2)
    assert short.gain_left > 1e-6
    assert not short.converged


def dense_log_likelihood(feature, reward, weight, mean, cov, noise_std):
    """By the dense covariance of each task's rewards, in float64."""
    eye = noise_std**2 * np.eye(reward.shape[1])
    whole = np.einsum("sni,kij,smj->sknm", feature, cov, feature) + eye
    off = reward[:, None] - np.einsum("sni,ki->skn", feature, mean)
    misfit = np.sum(off * np.linalg.solve(whole, off[..., None])[..., 0], axis=2)
    log_det = np.linalg.slogdet(2 * np.pi * whole)[1]
    return np.sum(np.logaddexp.reduce(np.log(weight) - 0.5 * (misfit + log_det), axis=1))


@pytest.mark.parametrize(("x64", "rtol"), [(False, 1e-4), (True, 1e-11)])
def test_a_maximum_of_the_dense_likelihood(x64, rtol):
    feature, reward, _, stats = draw()
    with jax.enable_x64(x64):
        mixture = jb.fit_hierarchy_mixture(stats, clusters=3, floor=1e-3)
    assert mixture.converged
    assert not any(mixture.on_floor)
    parameters = [np.float64(part) for part in mixture[:4]]
    parameters[0] = parameters[0] / np.sum(parameters[0])

    def value(parameters):
        return dense_log_likelihood(feature, reward, *parameters)

    top = value(parameters)
    assert top == pytest.approx(mixture.log_likelihood, rel=rtol)
    rng = np.random.default_rng(0)
    for name, part in enumerate(parameters):
        for _ in range(6):
            for sign in (-1, 1):
                moved = list(parameters)
                change = 0.02 * sign * rng.normal(size=part.shape)
                if name == 0:
                    moved[0] = part * np.exp(change)
                    moved[0] /= np.sum(moved[0])
                elif name == 2:
                    root = np.linalg.cholesky(part)
                    root = root @ (np.eye(2) + change)
                    moved[2] = root @ np.swapaxes(root, 1, 2)
                else:
                    moved[name] = part + change
                assert value(moved) < top


def test_the_floor_is_told_by_cluster():
    rng = np.random.default_rng(3)
    wide = np.array([[6.0, 0.0], [-6.0, 0.0]])[np.arange(60) % 2]
    theta = wide + np.where(wide[:, :1] > 0, rng.normal(size=(60, 2)), 0)  # one is a point
    feature = rng.normal(size=(60, 6, 2))
    reward = np.einsum("sni,si->sn", feature, theta) + 0.5 * rng.normal(size=(60, 6))
    sums = [(x.T @ x, x.T @ y, y @ y, 6) for x, y in zip(feature, reward, strict=True)]
    stats = jb.TaskStatistics(*(np.array(part) for part in zip(*sums, strict=True)))
    mixture = jb.fit_hierarchy_mixture(stats, clusters=2)
    single = np.float64(jb.fit_hierarchy(stats, hyper_cov="fixed").task_cov)
    right = np.asarray(mixture.hyper_mean)[:, 0] > 0
    least = [np.linalg.eigvals(np.linalg.solve(single, c)).min() for c in mixture.task_cov]
    np.testing.assert_array_equal(mixture.on_floor, np.array(least) < 0.0501**2)
    assert min(least) == pytest.approx(0.05**2, rel=1e-3)
    np.testing.assert_array_equal(mixture.on_floor, ~right)
    assert not mixture.noise_on_floor


def sums_of(theta, noise_std=NOISE_STD, records=6):
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(len(theta), records, theta.shape[1]))
    reward = np.einsum("sni,si->sn", feature, theta)
    reward += noise_std * rng.normal(size=reward.shape)
    return jb.TaskStatistics(
        np.einsum("sni,snj->sij", feature, feature),
        np.einsum("sni,sn->si", feature, reward),
        np.sum(reward**2, axis=1),
        np.full(len(theta), records),
    )


def thetas(features=2, scale=3.0, spread=0.3):
    rng = np.random.default_rng(0)
    centre = scale * rng.normal(size=(3, features))
    return centre[np.arange(40) % 3] + spread * rng.normal(size=(40, features))


@pytest.mark.parametrize(
    ("stats", "clusters"),
    [
        pytest.param(sums_of(thetas(scale=1000)), 3, id="far apart"),
        pytest.param(sums_of(thetas(), noise_std=0), 3, id="without noise"),
        pytest.param(sums_of(thetas(scale=0, spread=0)), 3, id="one point"),
        pytest.param(sums_of(thetas(features=1)), 3, id="one feature"),
        pytest.param(jax.tree.map(lambda x: x[:4], sums_of(thetas())), 4, id="as many as tasks"),
        pytest.param(
            jax.tree.map(lambda x: np.repeat(x[:1], 40, 0), sums_of(thetas())), 3, id="same tasks"
        ),
    ],
)
# Of two of these logs float32 sums do lose whole nats, as is said.
@pytest.mark.filterwarnings("ignore:the likelihood of this fit is off:UserWarning")
def test_extreme_logs_are_finite(stats, clusters):
    mixture = jb.fit_hierarchy_mixture(stats, clusters, max_iterations=300, restarts=3)
    assert all(np.all(np.isfinite(part)) for part in mixture[:6])
    assert np.sum(mixture.weight) == pytest.approx(1, abs=1e-6)
    assert np.linalg.eigvalsh(np.float64(mixture.task_cov)).min() > 0
    assert not mixture.converged or mixture.gain_left <= 1e-6


def test_units_and_tasks_without_records_change_nothing():
    stats = sums_of(thetas())
    mixture = jb.fit_hierarchy_mixture(stats, clusters=3)
    scaled = stats._replace(gram=1e4 * stats.gram, moment=1e2 * stats.moment)
    dearer = stats._replace(moment=1e3 * stats.moment, square=1e6 * stats.square)
    empty = jax.tree.map(lambda x: np.concatenate([0 * x[:3], x]), stats)
    for other, unit, shift in ((scaled, 0.01, 0), (dearer, 1e3, -240 * np.log(1e3)), (empty, 1, 0)):
        again = jb.fit_hierarchy_mixture(other, clusters=3)
        assert again.log_likelihood == pytest.approx(mixture.log_likelihood + shift, abs=1e-4)
        np.testing.assert_allclose(again.hyper_mean, unit * mixture.hyper_mean, rtol=1e-4)
        assert again.converged == mixture.converged
    np.testing.assert_allclose(again.assignment[:3], np.tile(again.weight, (3, 1)), rtol=1e-5)


def test_refused():
    *_, stats = draw()
    few = jax.tree.map(lambda x: x[:4], stats)
    bad = stats._replace(moment=np.full_like(stats.moment, np.nan))
    two = jnp.zeros((2, 3))
    mixture = jb.HierarchyMixture(two[:, 0], two, two, jnp.ones(()), two, 0.0, converged=True)
    for call, message in (
        (lambda: jb.fit_hierarchy_mixture(few, clusters=5), "at most the 4 tasks with records"),
        (lambda: jb.fit_hierarchy_mixture(stats, clusters=0), "clusters must be a whole number"),
        (lambda: jb.fit_hierarchy_mixture(stats, 2, floor=0.0), "floor must lie strictly"),
        (lambda: jb.fit_hierarchy_mixture(stats, 2, floor=2.0), "floor must lie.*was 2.0"),
        (lambda: jb.fit_hierarchy_mixture(stats, 2, seed=-1), "seed must be a whole number"),
        (lambda: jb.fit_hierarchy_mixture(bad, 2), "stats.moment must be finite"),
        (lambda: mixture.hierarchy(9), "cluster must be at most 1, was 9"),
        (lambda: mixture.hierarchy(-1), "cluster must be a whole number of at least 0"),
    ):
        assert_refused(call, message)
