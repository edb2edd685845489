"""Posteriors of arms' means, against the same integrals by SciPy's distributions and limits."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from benchmarks.advise import calibrate
from jaxbandit.inference.arm_posterior import ArmRecords, BetaArms, arm_posterior, best_shares


def clicks(count, total):
    count, total = np.asarray(count, float), np.asarray(total, float)
    return ArmRecords(count, total, total)


def normal(*rewards):
    """Sums of each arm's rewards."""
    return ArmRecords(
        np.array([float(len(r)) for r in rewards]),
        np.array([np.sum(r) for r in rewards]),
        np.array([np.sum(np.square(r)) for r in rewards]),
    )


def moments(posterior):
    """Mean and standard deviation of each arm's mean under the mixture."""
    if isinstance(posterior, BetaArms):
        hits, misses = posterior.successes, posterior.failures
        mean = hits / (hits + misses)
        var = mean * (1 - mean) / (hits + misses + 1)
    else:
        mean = posterior.centre
        noise_var = posterior.square / (posterior.freedom - 2)
        var = noise_var[:, None] * (posterior.common**2 + posterior.single**2)
    centre = posterior.weight @ mean
    return centre, np.sqrt(posterior.weight @ (var + (mean - centre) ** 2))


def test_clicks_against_an_even_fine_grid():
    count, total = np.array([200, 50, 0, 400]), np.array([6, 5, 0, 8])
    records = clicks(count, total)
    reach = 2 + np.ptp(logit((total + 0.5) / (count + 1)))
    pooled = logit((total.sum() + 0.5) / (count.sum() + 1))
    # Midpoints of even cells.
    weight, mean = [], []
    u = 10 ** (2 * (np.arange(150) + 0.5) / 150 - 2)[:, None]
    for m in expit(pooled + reach * (2 * np.arange(150) + 1 - 150) / 150):
        a, b = m / u**2, (1 - m) / u**2
        weight.append(np.prod(stats.betabinom.pmf(total, count, a, b), axis=1))
        mean.append((a + total) / (a + b + count))
    expected = np.average(np.concatenate(mean), axis=0, weights=np.concatenate(weight))
    np.testing.assert_allclose(moments(arm_posterior(records))[0], expected, rtol=0.01)


@pytest.mark.parametrize("count", [(5, 3, 0, 4), (2, 1, 0, 3), (1, 1, 2)])
def test_normal_rewards_against_dense_conditioning(count):
    """The records are one normal vector; its mean, noise and ratio of spread lie on a fine grid."""
    rng = np.random.default_rng(3)
    rewards = [rng.normal(mu, 0.1, n) for mu, n in zip((0.4, 0.5, 0.6, 0.7), count, strict=False)]
    x = np.concatenate(rewards)
    n, arms = len(x), len(count)
    arm = np.repeat(np.arange(arms), count)[:, None] == np.arange(arms)
    log_noise = np.linspace(np.log(x.std()) - 4, np.log(x.std()) + 7, 200)
    step = np.sinh(np.linspace(-9, 9, 400))  # Dense near the middle, out to far.
    m = x.mean() + 0.01 * step
    length = np.gradient(m)[:, None]
    weight, mean, square = [], [], []
    for rho in np.geomspace(0.01, 100, 61):
        cov = np.eye(n) + rho**2 * arm @ arm.T
        solved = np.linalg.solve(cov, x[:, None] - m)
        fit = -0.5 * np.sum((x[:, None] - m) * solved, axis=0)[:, None] / np.exp(2 * log_noise)
        weight.append(
            np.exp(fit - n * log_noise - 0.5 * np.linalg.slogdet(cov)[1] + n * np.log(x.std()))
            * length
        )
        mean.append((m + rho**2 * arm.T @ solved).T)
        shrunk = rho**2 * np.eye(arms) - rho**4 * arm.T @ np.linalg.solve(cov, arm * 1.0)
        square.append(np.diag(shrunk) * np.sum(weight[-1] * np.exp(2 * log_noise)))
    each = np.array(weight).sum(axis=2)
    expected = np.einsum("rm,rma->a", each, mean) / each.sum()
    posterior = arm_posterior(normal(*rewards))
    np.testing.assert_allclose(posterior.weight, each.sum(axis=1) / each.sum(), rtol=0.01)
    centre, std = moments(posterior)
    np.testing.assert_allclose(centre, expected, atol=0.002)
    if n > 6:  # With fewer the variance is that of a heavy tail, beyond any grid.
        var = np.einsum("rm,rma->a", each, (np.array(mean) - expected) ** 2) + np.sum(
            square, axis=0
        )
        np.testing.assert_allclose(std, np.sqrt(var / each.sum()), rtol=0.02)


def test_draws_are_those_of_the_mixture():
    rng = np.random.default_rng(4)
    posterior = arm_posterior(normal(rng.normal(0.4, 0.02, 9), rng.normal(0.5, 0.02, 9)))
    drawn = posterior.draw(40_000, rng)
    mean, std = moments(posterior)
    assert drawn.noise_std is not None
    np.testing.assert_array_less(np.abs(drawn.mean.mean(axis=0) - mean), 4 * std / 200)
    np.testing.assert_allclose(drawn.mean.std(axis=0), std, rtol=0.03)
    noise = posterior.weight @ posterior.square / (posterior.freedom - 2)
    assert np.mean(drawn.noise_std**2) == pytest.approx(noise, rel=0.03)


def test_rewards_of_another_place_and_unit_say_the_same():
    """As far as numbers in [0, 1] tell: moved and shrunk, the posterior is moved and shrunk."""
    rng = np.random.default_rng(7)
    rewards = [rng.normal(mu, 0.1, 6) for mu in (0.3, 0.4, 0.6)]
    plain = arm_posterior(normal(*rewards))
    mean, std = moments(plain)
    for shift, scale in ((0.3, 1.0), (0.0, 1e-3), (0.9, 1e-3), (0.5, 1e-4)):
        moved = arm_posterior(normal(*(shift + scale * r for r in rewards)))
        np.testing.assert_allclose(moved.weight, plain.weight, rtol=1e-5)
        moved_mean, moved_std = moments(moved)
        np.testing.assert_allclose(moved_mean, shift + scale * mean, rtol=1e-7)
        np.testing.assert_allclose(moved_std, scale * std, rtol=1e-5)


def test_ties_of_draws_are_divided():
    mean = np.array([[1.0, 1.0, 0.5], [0.2, 0.3, 0.3], [0.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    expected = [(0.5 + 1 / 3 + 1) / 4, (0.5 + 0.5 + 1 / 3) / 4, (0.5 + 1 / 3) / 4]
    np.testing.assert_allclose(best_shares(mean), expected)


def test_much_data_gives_the_truth():
    mean, std = moments(arm_posterior(clicks([1e6, 1e6], [2e5, 5e5])))
    np.testing.assert_allclose(mean, [0.2, 0.5], rtol=1e-4)
    np.testing.assert_allclose(std, np.sqrt([0.16e-6, 0.25e-6]), rtol=0.01)


def test_arms_alike_are_drawn_together_and_draws_have_the_mixture_s_moments():
    count = np.full(40, 125)
    total = np.random.default_rng(1).binomial(count, 0.01)
    posterior = arm_posterior(clicks(count, total))
    mean, std = moments(posterior)
    assert np.std(mean) < np.std(total / count) / 2
    draws = posterior.draw(20_000, np.random.default_rng(0)).mean
    error = std / np.sqrt(20_000)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - mean), 4 * error)
    np.testing.assert_allclose(draws.std(axis=0), std, rtol=0.1)


@pytest.mark.parametrize("binary", [True, False])
def test_an_arm_without_records_is_like_the_others_but_wider(binary):
    count = np.array([1000.0, 1000, 1000, 0])
    total = np.array([300.0, 350, 250, 0])
    records = ArmRecords(count, total, total if binary else total * 0.5)
    mean, std = moments(arm_posterior(records))
    assert 0.2 < mean[3] < 0.4
    assert std[3] > 3 * std[:3].max()


def test_intervals_hold_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = []
    for _ in range(40):
        truth = rng.beta(4, 96, 20)
        count = rng.integers(20, 400, 20)
        posterior = arm_posterior(clicks(count, rng.binomial(count, truth)))
        low, high = np.quantile(posterior.draw(1000, rng).mean, (0.05, 0.95), axis=0)
        held.append(np.mean((low <= truth) & (truth <= high)))
    error = np.std(held) / np.sqrt(len(held))
    assert abs(np.mean(held) - 0.9) < 3 * error + 0.01


WORLDS = [pytest.param(300, id="few"), pytest.param(4000, id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("worlds", WORLDS)
@pytest.mark.parametrize("records", [6, 20, 100])
@pytest.mark.parametrize("rewards", ["clicks", "normal"])
def test_what_is_said_holds_as_often_as_it_says(rewards, records, worlds):
    """Worlds as the model has them: within the error of so many, and never beyond .05 with many."""
    said, right, held = calibrate(rewards, "drawn", records, worlds, seed=1)
    error = np.std(right - said) / np.sqrt(worlds)
    assert abs(np.mean(said - right)) < min(0.01 + 3 * error, 0.05 + error)
    sure = said > 0.8
    if np.sum(sure) > 100:  # Six clicks never make it so.
        beyond = abs(np.mean(said[sure] - right[sure]))
        assert beyond < 0.05 + 3 * np.std(right[sure]) / np.sqrt(np.sum(sure)) * (worlds < 1000)
    # The model's m is uniform in all log-odds, which no world's can be: a few clicks show that.
    bias = {"clicks": 0.02, "normal": 0.01}[rewards]
    assert abs(np.mean(held) - 0.95) < bias + 3 * np.std(held) / np.sqrt(worlds)
