"""Cells of every shape are, to the bit, the simulations they stand for."""

import jax
import numpy as np
import polars as pl

import jaxbandit as jb
from jaxbandit.studies.sweeps.exports import open_result, table

# No axis at all, rewards that were logged already, and rounds of one's own.
ALONE = """
journey = "online"
runs = 300
seed = 2
horizon = 20

[environment]
kind = "bernoulli"
mean = [0.3, 0.5]

[offline]
count = [4, 6]
total = [1, 3]

[policies.ucb]
[policies.lcb]

[outputs]
checkpoints = [1, 7, 20]
"""
# Horizons, numbers of arms and an axis of lists without labels.
MIXED = """
journey = "online"
runs = 300
seed = 2

[environment]
kind = "bernoulli"

[policies.ucb]
[policies.lcb]

[outputs]
checkpoints = 3
finals = true

[[sweep]]
horizon = [10, 20]

[[sweep]]
name = "arms"
"environment.mean" = [[0.3, 0.5], [0.2, 0.6, 0.4]]
"""
POLICIES = {"ucb": jb.ucb(), "lcb": jb.lcb()}


def assert_is_the_simulation(cell, out, arms):
    for name, one in out.policies.items():
        found = cell.sel(policy=name)
        assert ("logging_regret_mean" in cell) == (one.logging_regret is not None)
        for quantity in ("regret", "logging_regret", "reward"):
            moments = getattr(one, quantity)
            for part in () if moments is None else ("mean", "std", "sem"):
                np.testing.assert_array_equal(found[f"{quantity}_{part}"], getattr(moments, part))
        np.testing.assert_array_equal(found["pulls_mean"][:arms], one.pulls.mean)
        assert np.all(np.isnan(found["pulls_mean"][arms:]))
        np.testing.assert_array_equal(cell["round"], one.round)
    np.testing.assert_array_equal(
        cell["difference_mean"].sel(pair="ucb - lcb"), out.paired("ucb", "lcb").mean
    )


def test_a_study_of_one_cell(command, tmp_path):
    file, store = tmp_path / "study.toml", tmp_path / "store"
    file.write_text(ALONE)
    assert command("sweep", file, "--out", store, "--quiet") == (0, "", "")
    assert "cells: 1 of 1 complete" in command("status", store)[1]
    out = jb.simulate(
        jax.random.key(2),
        POLICIES,
        jb.bernoulli_arms([0.3, 0.5]),
        horizon=20,
        runs=300,
        offline=jb.OfflineArms(np.array([4, 6]), np.array([1, 3])),
        checkpoints=[1, 7, 20],
    )
    result = open_result(store)
    assert dict(result.sizes) == {"policy": 2, "pair": 1, "checkpoint": 3, "arm": 2}
    assert_is_the_simulation(result, out, 2)
    assert command("plot", store)[0] == 0
    assert command("export", store, tmp_path / "result.csv") == (0, "", "")
    rows = pl.read_csv(tmp_path / "result.csv")
    assert rows.columns[:4] == ["policy", "round", "runs", "regret_mean"]
    assert rows["round"].to_list() == 3 * [1, 7, 20]


def test_cells_of_other_horizons_and_numbers_of_arms(command, tmp_path):
    file, store = tmp_path / "study.toml", tmp_path / "store"
    file.write_text(MIXED)
    assert command("sweep", file, "--out", store, "--quiet") == (0, "", "")
    result = open_result(store)
    rows = table(result)
    for horizon in (10, 20):
        for arms, mean in enumerate(([0.3, 0.5], [0.2, 0.6, 0.4])):
            ends = np.round(np.array([1, 2, 3]) * horizon / 3).astype(int)
            out = jb.simulate(
                jax.random.key(2),
                POLICIES,
                jb.bernoulli_arms(mean),
                horizon=horizon,
                runs=300,
                checkpoints=ends,
            )
            cell = result.sel(horizon=horizon, arms=arms)
            assert_is_the_simulation(cell, out, len(mean))
            for name in POLICIES:
                np.testing.assert_array_equal(
                    cell["final_regret"].sel(policy=name), out[name].final_regret
                )
            assert rows.filter(horizon=horizon, arms=arms)["round"].to_list() == 3 * list(ends)
    assert command("plot", store)[0] == 0


# One cell near zero and one far from it, whose rewards the host raises; in one block.
FAR = """
journey = "online"
runs = 300
seed = 2
horizon = 50

[environment]
kind = "gaussian"
std = 0.5

[confidence]
sigma = 0.5
floor = -10.0
ceiling = 20000.0

[policies.ucb]
[policies.lcb]

[outputs]
checkpoints = 3
finals = true

[[sweep]]
name = "where"
"environment.mean" = [[0.25, 0.5], [10000.25, 10000.5]]
"""


def test_rewards_far_from_zero(command, tmp_path):
    """A sum of rewards in float32 would lose how it varies."""
    file, store = tmp_path / "study.toml", tmp_path / "store"
    file.write_text(FAR)
    assert command("sweep", file, "--out", store, "--quiet") == (0, "", "")
    result = open_result(store)
    bounds = jb.confidence(sigma=0.5, floor=-10.0, ceiling=20000.0)
    stds = []
    for where, shift in enumerate((0.0, 10000.0)):
        out = jb.simulate(
            jax.random.key(2),
            {"ucb": jb.ucb(bounds), "lcb": jb.lcb(bounds)},
            jb.gaussian_arms(np.array([0.25, 0.5]) + shift, 0.5),
            horizon=50,
            runs=300,
            checkpoints=[17, 33, 50],
        )
        cell = result.sel(where=where)
        assert_is_the_simulation(cell, out, 2)
        for name in ("ucb", "lcb"):
            reward = cell["final_reward"].sel(policy=name).values
            np.testing.assert_array_equal(reward, out[name].final_reward)
            assert abs(reward.mean() - 50 * shift) < 50
        stds.append(cell["reward_std"].values)
    np.testing.assert_allclose(stds[1], stds[0], rtol=0.02)
