"""The oracle itself, against a game small enough to work out by hand."""

import numpy as np

from tests.simulation import oracle

CONSTANTS = oracle.Constants(delta=2 * np.exp(-2.0))  # log(K / delta) = 2, r(n) = 1 / sqrt(n)


def rewards_of_arm_0(t, arm):
    return (arm == 0).astype(float)


def test_bounds_of_the_first_round():
    # m = (4, 16): r = (1/2, 1/4); means (1/2, 5/8): UCB 1, 7/8; LCB 0, 3/8.
    total = np.array([[2.0, 10.0]])
    for policy, arm in (("ucb", 0), ("lcb", 1)):
        played = oracle.play(rewards_of_arm_0, [4, 16], total, 1, policy, CONSTANTS)
        assert played.arm == arm


def test_budget_of_the_first_rounds():
    # b = 4/20 * 1/2 + 16/20 * 1/4 = 3/10; gamma = 3/8 - alpha b.
    total, alpha, horizon = np.array([[2.0, 10.0]]), 0.5, 4
    played = oracle.play(rewards_of_arm_0, [4, 16], total, horizon, "oto", CONSTANTS, alpha=alpha)
    ab, gamma = 0.15, 0.225
    first = 0 - gamma + (horizon - 1) * ab
    # After a reward of 1 from arm 0: mean 3/5, LCB 3/5 - 1/sqrt(5) = 0.153, UCB 1.047.
    low = 0.6 - 1 / np.sqrt(5)
    second = (low - gamma) + (low - gamma) + (horizon - 2) * ab
    np.testing.assert_allclose(played.budget[0, :2], [first, second], rtol=1e-12)
    np.testing.assert_array_equal(played.arm[0, :2], [0, 0])
    assert played.lcb_rounds[0, 1] == 0


def test_reference_sums_bounds_of_the_round_before():
    constants = CONSTANTS._replace(preset="reference")
    total = np.array([[2.0, 10.0]])
    played = oracle.play(rewards_of_arm_0, [4, 16], total, 4, "oto", constants, alpha=1.0)
    # Radii sqrt(2 / n); b = (2 + 4) / 20 * sqrt(log(1 / delta) / 2), without K.
    b = 0.3 * np.sqrt((2 - np.log(2)) / 2)
    gamma = 10 / 16 - np.sqrt(2 / 16) - b
    np.testing.assert_allclose(played.budget[0, 0], -gamma + 3 * b, rtol=1e-12)
    np.testing.assert_allclose(played.budget[0, 1], -gamma - gamma + 2 * b, rtol=1e-12)
    # In the third round the sum has the bound of the second (still the floor), u_t's term its own.
    low = 4 / 6 - np.sqrt(2 / 6)
    np.testing.assert_allclose(played.budget[0, 2], 2 * (0 - gamma) + (low - gamma) + b, rtol=1e-12)


def test_the_proxy_doubles_when_passed_and_in_the_reference_later():
    # On one arm whose bound stays at the floor, B(t) = (H - t) alpha b + t alpha b: the proxy.
    for preset, proxy in (
        ("paper", [2, 2, 4, 4, 8, 8, 8, 8, 16, 16]),
        ("reference", [2, 2, 2, 2, 4, 4, 8, 8, 8, 8]),
    ):
        constants = oracle.Constants(preset, 0.1, anytime=True)
        played = oracle.play(
            lambda t, arm: 0.0 * arm, [1], np.zeros((1, 1)), 10, "oto", constants, alpha=1.0
        )
        b = constants.budget_per_round(0.1, [1])
        np.testing.assert_allclose(played.budget[0] / b, proxy, rtol=1e-12)
