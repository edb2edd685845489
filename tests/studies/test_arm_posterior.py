"""Posteriors of arms' means, against the same integrals by SciPy's distributions and limits."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from jaxbandit.studies.arm_posterior import ArmRecords, arm_posterior, draw_means


def clicks(count, total):
    count, total = np.asarray(count, float), np.asarray(total, float)
    return ArmRecords(count, total, total)


def moments(posterior):
    """Mean and standard deviation of each arm's mean under the mixture."""
    first, second = posterior.first, posterior.second
    if posterior.noise_std is None:
        mean = first / (first + second)
        var = mean * (1 - mean) / (first + second + 1)
    else:
        mean, var = first, second**2
    centre = posterior.weight @ mean
    return centre, np.sqrt(posterior.weight @ (var + (mean - centre) ** 2))


def test_clicks_against_an_even_fine_grid():
    count, total = np.array([200, 50, 0, 400]), np.array([6, 5, 0, 8])
    records = clicks(count, total)
    reach = 2 + np.ptp(logit((total + 0.5) / (count + 1)))
    pooled = logit((total.sum() + 0.5) / (count.sum() + 1))
    # Midpoints of even cells.
    weight, mean = [], []
    u = ((np.arange(150) + 0.5) / 150)[:, None]
    for m in expit(pooled + reach * (2 * np.arange(150) + 1 - 150) / 150):
        a, b = m / u**2, (1 - m) / u**2
        weight.append(np.prod(stats.betabinom.pmf(total, count, a, b), axis=1))
        mean.append((a + total) / (a + b + count))
    expected = np.average(np.concatenate(mean), axis=0, weights=np.concatenate(weight))
    np.testing.assert_allclose(moments(arm_posterior(records))[0], expected, rtol=0.01)


def test_normal_rewards_against_an_even_fine_grid():
    rng = np.random.default_rng(3)
    count = np.array([30, 5, 0, 12])
    rewards = [rng.normal(mean, 0.1, n) for mean, n in zip((0.4, 0.5, 0, 0.7), count, strict=True)]
    records = ArmRecords(
        count.astype(float),
        np.array([r.sum() for r in rewards]),
        np.array([(r**2).sum() for r in rewards]),
    )
    posterior = arm_posterior(records)
    seen = count > 0
    noise = np.sqrt(sum(((r - r.mean()) ** 2).sum() for r in rewards if len(r)) / (47 - 3))
    assert posterior.noise_std == pytest.approx(noise)
    observed = records.total[seen] / count[seen]
    pooled, width = records.total.sum() / 47, np.ptp(observed)
    reach, largest = width + 2 * noise, 2 * (noise + width)
    weight, mean = [], []
    tau = ((np.arange(200) + 0.5) / 200 * largest)[:, None]
    error = noise / np.sqrt(count[seen])
    share = tau**2 / (tau**2 + error**2)
    for m in pooled + reach * (2 * np.arange(200) + 1 - 200) / 200:
        weight.append(np.prod(stats.norm.pdf(observed, m, np.hypot(tau, error)), axis=1))
        each = np.full((200, 4), m)
        each[:, seen] = m + share * (observed - m)
        mean.append(each)
    expected = np.average(np.concatenate(mean), axis=0, weights=np.concatenate(weight))
    np.testing.assert_allclose(moments(posterior)[0], expected, atol=0.002)


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
    draws = draw_means(posterior, 20_000, np.random.default_rng(0))
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
        low, high = np.quantile(draw_means(posterior, 1000, rng), (0.05, 0.95), axis=0)
        held.append(np.mean((low <= truth) & (truth <= high)))
    error = np.std(held) / np.sqrt(len(held))
    assert abs(np.mean(held) - 0.9) < 3 * error + 0.01
