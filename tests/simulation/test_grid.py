"""Grids: each cell is what it would be alone, and all run in one program."""

import jax
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import tiles
from tests.messages import assert_refused

KEY = jax.random.key(4)
MEANS = ([0.5, 0.6, 0.7], [0.7, 0.6, 0.5], [0.2, 0.9, 0.4])
ALPHAS = (0.05, 0.3, 1.0)
COUNTS = np.array([[20, 10, 0], [5, 5, 5], [0, 0, 8]])
HORIZONS = (40, 7, 60)
ENDS = (5, 40, 60)
RUNS = 20


def play(policies, environment, horizon, count, **options):
    options = {"checkpoints": ENDS, "runs": RUNS, "curves": True} | options
    return jb.simulate(KEY, policies, environment, horizon=horizon, offline_count=count, **options)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def whole():
    policies = {"oto": jb.grid([jb.oto(alpha) for alpha in ALPHAS]), "ucb": jb.ucb()}
    environment = jb.grid([jb.bernoulli_arms(mean) for mean in MEANS])
    return play(policies, environment, HORIZONS, COUNTS)


@pytest.mark.parametrize("index", range(3))
def test_a_cell_is_what_it_would_be_alone(whole, index):
    ends = [end for end in ENDS if end <= HORIZONS[index]]
    alone = play(
        {"oto": jb.oto(ALPHAS[index]), "ucb": jb.ucb()},
        jb.bernoulli_arms(MEANS[index]),
        HORIZONS[index],
        COUNTS[index],
        checkpoints=[*ends, *([] if ends[-1] == HORIZONS[index] else [HORIZONS[index]])],
    )
    for name in whole:
        one, other = whole[name], alone[name]
        np.testing.assert_array_equal(one.final_regret[index], other.final_regret)
        np.testing.assert_array_equal(one.final_reward[index], other.final_reward)
        # Sums over runs round by another order in another program; runs themselves do not.
        assert_close(one.pulls.mean[index], other.pulls.mean)
        for field in ("regret", "logging_regret", "reward"):
            got, expected = getattr(one, field).mean, getattr(other, field).mean
            assert_close(got[index, : len(ends)], expected[: len(ends)])
            # Beyond its horizon a cell keeps what it had there.
            assert_close(got[index, len(ends) :], expected[-1])
        for key, moments in other.info.items():
            assert_close(one.info[key].mean[index, -1], moments.mean[-1])
        curves = one.regret_curves
        assert curves.shape == (3, RUNS, 3)
        np.testing.assert_array_equal(
            curves[index, :, : len(ends)], other.regret_curves[:, : len(ends)]
        )
    paired, expected = whole.paired("ucb", "oto"), alone.paired("ucb", "oto")
    assert_close(paired.mean[index, -1], expected.mean[-1])
    assert_close(paired.sem[index, -1], expected.sem[-1])


def test_only_what_has_cells_gets_them():
    environment = jb.bernoulli_arms(MEANS[0])
    policies = {"ucb": jb.ucb(), "oto": jb.grid([jb.oto(alpha) for alpha in ALPHAS])}
    out = play(policies, environment, 60, COUNTS[0])
    assert out["ucb"].regret.mean.shape == (3,)
    assert out["oto"].regret.mean.shape == (3, 3)
    assert out["oto"].pulls.mean.shape == (3, 3)
    assert out["oto"].final_regret.shape == (3, RUNS)
    paired = out.paired("ucb", "oto")
    np.testing.assert_allclose(
        paired.mean, out["ucb"].regret.mean - out["oto"].regret.mean, rtol=1e-5, atol=1e-5
    )
    alone = play({"ucb": jb.ucb(), "oto": jb.oto(ALPHAS[2])}, environment, 60, COUNTS[0])
    np.testing.assert_array_equal(out["ucb"].final_regret, alone["ucb"].final_regret)
    np.testing.assert_array_equal(out["oto"].final_regret[2], alone["oto"].final_regret)


def test_fixed_totals_and_gaussian_arms_in_cells():
    totals = COUNTS * 0.5
    environment = jb.grid([jb.gaussian_arms(mean, 0.3) for mean in MEANS])
    options = {"runs": RUNS, "horizon": 30, "checkpoints": [30]}
    out = jb.simulate(
        KEY, {"ucb": jb.ucb()}, environment, offline=jb.OfflineArms(COUNTS, totals), **options
    )
    for index, mean in enumerate(MEANS):
        alone = jb.simulate(
            KEY,
            {"ucb": jb.ucb()},
            jb.gaussian_arms(mean, 0.3),
            offline=jb.OfflineArms(COUNTS[index], totals[index]),
            **options,
        )
        np.testing.assert_array_equal(out["ucb"].final_reward[index], alone["ucb"].final_reward)


def test_curves_average_to_the_mean_and_are_kept_only_on_request(whole):
    np.testing.assert_allclose(
        whole["oto"].regret_curves.mean(axis=1), whole["oto"].regret.mean, rtol=1e-5, atol=1e-5
    )
    out = play({"ucb": jb.ucb()}, jb.bernoulli_arms(MEANS[0]), 60, COUNTS[0], curves=False)
    assert out["ucb"].regret_curves is None


def test_a_grid_and_other_horizons_compile_once():
    tiles._PREPARED._values.clear()
    environment = jb.bernoulli_arms(MEANS[0])

    def run(alphas, horizon):
        policies = {"oto": jb.grid([jb.oto(alpha) for alpha in alphas])}
        play(policies, environment, horizon, COUNTS[0], checkpoints=[5, horizon], runs=3)

    run((0.1, 0.2), 50)
    run((0.3, 0.4), 51)
    run((0.0, 9.0), 30)
    assert len(tiles._PREPARED) == 1


def test_share_of_ucb_rounds():
    out = play({"oto": jb.oto(0.05)}, jb.bernoulli_arms(MEANS[0]), 60, [50, 50, 0])
    info = out["oto"].info
    np.testing.assert_allclose(
        info["ucb_share"].mean, 1 - info["lcb_rounds"].mean / np.array(ENDS), rtol=1e-5
    )
    assert 0 < info["ucb_share"].mean[-1] < 1
    for budget in ("unified", "unified-moving"):
        other = play(
            {"oto": jb.oto(0.2, budget=budget)}, jb.bernoulli_arms(MEANS[0]), 60, COUNTS[0]
        )
        info = other["oto"].info
        np.testing.assert_allclose(
            info["ucb_share"].mean, 1 - info["lcb_rounds"].mean / np.array(ENDS), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: jb.grid([]), "list of policies or a list of environments"),
        (lambda: jb.grid([jb.ucb(), jb.lcb()]), "item 1 has other functions"),
        (lambda: jb.grid([jb.ucb(), jb.bernoulli_arms(MEANS[0])]), "item 1 has other functions"),
        (
            lambda: jb.grid([jb.bernoulli_arms(MEANS[0]), jb.bernoulli_arms([0.5, 0.5])]),
            "those of item 1 differ",
        ),
        (
            lambda: play(
                {"oto": jb.grid([jb.oto(0.1), jb.oto(0.2)])},
                jb.bernoulli_arms(MEANS[0]),
                HORIZONS,
                COUNTS[0],
            ),
            "policy 'oto' 2, horizon 3",
        ),
        (
            lambda: play(
                {"oto": jb.oto(np.array([0.1, 0.2]))}, jb.bernoulli_arms(MEANS[0]), 60, COUNTS[0]
            ),
            "grid",
        ),
        (
            lambda: play(
                {"f": jb.grid([jb.fixed_arm(0), jb.fixed_arm(3)])},
                jb.bernoulli_arms(MEANS[0]),
                60,
                COUNTS[0],
            ),
            "policy 'f': arm must be below 3, the number of arms, was 3",
        ),
        (
            lambda: play({"o": jb.oto()}, jb.bernoulli_arms(MEANS[0]), 60, [[1, 2, 3], [0, 0, 0]]),
            "policy 'o': OtO's budget comes from offline data",
        ),
        (
            lambda: play({"u": jb.ucb()}, jb.bernoulli_arms(MEANS[0]), (60, 0), COUNTS[0]),
            "horizon must be a whole number of at least 1, was 0",
        ),
        (
            lambda: play({"u": jb.ucb()}, jb.bernoulli_arms(MEANS[0]), 60, COUNTS[:, :2]),
            r"offline_count must have shape \[cells, arms\]",
        ),
    ],
)
def test_messages(make, said):
    assert_refused(make, said)
