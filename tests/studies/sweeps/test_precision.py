"""Run until precise: where a cell stops follows from its runs alone, and rare failures are seen."""

import json

import numpy as np
import pytest
from scipy import stats

from jaxbandit.checks import InputError
from jaxbandit.studies.sweeps import estimate, run
from jaxbandit.studies.sweeps.exports import open_result
from jaxbandit.studies.sweeps.layout import FEWEST_RUNS, Layout, cut
from jaxbandit.studies.sweeps.result import RESULT
from jaxbandit.studies.sweeps.store import open_store
from tests.studies.sweeps.stores import STUDY, contents, planned

WORK = 400_000
RUNS = 14_000
# Of the cells below these runs are judged, and the last of them are all.
STAGES = (4096, 6144, 8192, 12288, RUNS)
LONGER = STUDY.replace("runs = 2100", f"runs = {RUNS}")
PAIR = 'policy = "oto"\nminus = "ucb"'
TARGET = 0.004


def precise(target, ending=PAIR, text=LONGER):
    return planned(f"{text}\n[precision]\nstandard_error = {target}\n{ending}", WORK)


def sems(values):
    return np.std(values, axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def judged(error, target):
    """Runs at which a cell stops, and whether it is precise, by the errors [stages, cells]."""
    small = error <= target
    twice = small[1:] & small[:-1]
    stopped = np.array(STAGES[1:])[np.where(twice.any(axis=0), twice.argmax(axis=0), -1)]
    return stopped, twice.any(axis=0)


@pytest.fixture(scope="module")
def finals(tmp_path_factory):
    """Regret of every run, [policies, cells, runs], without stopping."""
    store = tmp_path_factory.mktemp("whole") / "store"
    run.run_study(planned(LONGER, WORK), store)
    values = open_result(store)["final_regret"].astype(float)
    stacked = values.stack(cell=("alpha", "delta", "instance"))
    return stacked.transpose("policy", "cell", "run").to_numpy()


@pytest.mark.parametrize(
    ("ending", "measure"),
    [
        (PAIR, lambda v: sems(v[1] - v[0])),
        ('policy = "oto"', lambda v: sems(v[1])),
        ("", lambda v: sems(v).max(axis=0)),
    ],
)
def test_cells_stop_where_the_error_was_small_at_two_successive_stages(
    finals, tmp_path, ending, measure
):
    error = np.array([measure(finals[..., :runs]) for runs in STAGES])
    target = float(np.median(error[1]))
    run.run_study(precise(target, ending), tmp_path / "store")
    result = open_result(tmp_path / "store").stack(cell=("alpha", "delta", "instance"))
    stopped, good = judged(error, target)
    assert len(set(stopped)) > 1
    np.testing.assert_array_equal(result["runs"], stopped)
    np.testing.assert_array_equal(result["precise"], good)
    last = result["regret_mean"].isel(checkpoint=-1).sel(policy="oto")
    means = [finals[1, cell, :n].mean() for cell, n in enumerate(stopped)]
    np.testing.assert_allclose(last, means, rtol=1e-5)


def test_shards_and_threads_stop_alike(tmp_path):
    plan = precise(TARGET)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run.run_study(plan, whole).result
    for part in (2, 3, 1):
        run.run_study(plan, parts, shard=(part, 3), threads=part)
    assert contents(parts / RESULT) == contents(whole / RESULT)
    assert len(set(open_result(whole)["runs"].to_numpy().ravel())) > 1


def test_a_store_goes_on_where_it_was(tmp_path):
    plan = precise(TARGET)
    whole, cut_short = tmp_path / "whole", tmp_path / "cut"
    run.run_study(plan, whole)

    def some(study, wanted, advance):
        yield from run.compute(study, plan.cells, wanted[: len(wanted) // 2], advance=advance)
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run.run_study(plan, cut_short, compute_blocks=some)
    run.run_study(plan, cut_short)
    assert contents(cut_short / RESULT) == contents(whole / RESULT)


def test_too_few_runs_to_be_judged_are_never_precise(tmp_path):
    text = STUDY.replace("runs = 2100", f"runs = {FEWEST_RUNS}")
    run.run_study(precise(1e6, text=text), tmp_path / "store")
    result = open_result(tmp_path / "store")
    assert np.all(result["runs"] == FEWEST_RUNS)
    assert not np.any(result["precise"])
    said = list(estimate.lines(precise(1e6, text=text), threads=1))
    assert "precision: never judged, which takes more than 4,096 runs" in said
    assert not any(line.startswith("precision:") for line in estimate.lines(precise(1e6)))


def test_a_store_of_the_rule_before_is_not_read_by_this_one(tmp_path):
    run.run_study(precise(1e6), tmp_path / "store")
    file = tmp_path / "store" / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 1}))
    with pytest.raises(InputError, match="has format 1, this jaxbandit reads format 2"):
        open_store(tmp_path / "store")


# What the rule promises, on runs whose mean is known.

CELLS = 300
MANY = f"""
journey = "online"
runs = 98_304
horizon = 2

[environment]
kind = "bernoulli"
mean = [0.2, 0.5]

[policies.ucb]

[outputs]
checkpoints = 1

[[sweep]]
"confidence.delta" = {{ from = 0.01, to = 0.1, points = {CELLS} }}
"""


def rare(probability):
    deviation = np.sqrt(probability * (1 - probability))
    return lambda rng, size: ((rng.random(size) < probability) - probability) / deviation


def lognormal(sigma):
    mean = np.exp(sigma**2 / 2)
    deviation = mean * np.sqrt(np.expm1(sigma**2))
    return lambda rng, size: (rng.lognormal(0, sigma, size) - mean) / deviation


def stopped(draw, needed, path, seed=0):
    """Means and standard errors, in asked ones, and runs, of cells that stop by themselves.

    The runs of cells are independent draws of mean 0 and variance 1, of which a fixed number of
    runs `needed` would have the standard error asked for.
    """
    plan = planned(f"{MANY}\n[precision]\nstandard_error = {needed**-0.5}", 2**27)
    width = plan.layout.width

    def drawn(study, wanted, advance):
        for block in wanted:
            rng = np.random.default_rng([seed, block.chunk, block.first])
            shape = len(block.cells), block.last - block.first
            values = draw(rng, (*shape, width)).astype(np.float32).astype(float)
            arrays = {
                "cells": np.array(block.cells),
                "tiles": np.array([block.first, block.last]),
                "count": np.full(shape, width),
                "non_finite": np.zeros((0, 2), np.int64),
                "regret.mean": values.mean(axis=-1)[..., None, None],
                "regret.deviation": (values.var(axis=-1) * width)[..., None, None],
            }
            yield block, arrays, {}

    run.run_study(plan, path, compute_blocks=drawn)
    result = open_result(path)
    mean, sem = (result[f"regret_{x}"].to_numpy().ravel() * needed**0.5 for x in ("mean", "sem"))
    return mean, sem, result["runs"].to_numpy()


@pytest.mark.parametrize(
    ("draw", "needed", "bias", "coverage", "most"),
    [
        # Bias in standard errors asked for; of 4,000 cells, and what docs/sweeps.md has.
        (rare(0.002), 3000, -0.03, 0.911, 7000),
        (lognormal(2.0), 3000, -0.07, 0.903, 7500),
    ],
)
def test_intervals_of_cells_that_stop_cover_the_mean(tmp_path, draw, needed, bias, coverage, most):
    mean, sem, runs = stopped(draw, needed, tmp_path / "store")
    assert abs(mean.mean() - bias) < 4 / CELLS**0.5
    covers = np.abs(mean) <= 1.96 * sem
    assert covers.sum() >= stats.binom.ppf(1e-4, CELLS, coverage)
    assert runs.mean() < most


def tiles_of(layout: Layout, shards: int) -> np.ndarray:
    """How often each cell and tile is computed, and by which shard it is, [cells, tiles]."""
    cells, tiles = layout.chunks[-1].stop, layout.stages[-1]
    times, owner = np.zeros((cells, tiles), int), np.zeros((cells, tiles), int)
    for chunk, place in enumerate(layout.chunks):
        for stage in range(len(layout.stages)):
            for block in layout.blocks(chunk, stage, range(place.start, place.stop)):
                times[list(block.cells), block.first : block.last] += 1
                owner[list(block.cells), block.first : block.last] = layout.owner(block, shards)
    return times, owner


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("cells", [1, 7, 300])
@pytest.mark.parametrize("runs", [1, 512, 5000, 100_000])
def test_blocks_cover_everything_once(precise, cells, runs):
    work = np.random.default_rng(cells).uniform(1e3, 1e5, cells)
    layout = cut(work, 40_000, runs=runs, width=512, precise=precise)
    times, owner = tiles_of(layout, 3)
    assert np.all(times == 1)
    if np.size(times) > 30 and (not precise or cells > 7):
        assert set(owner.ravel()) == {0, 1, 2}
    if precise:
        assert all(len(set(row)) == 1 for row in owner)


@pytest.mark.parametrize(
    ("runs", "width", "stages"),
    [
        (100, 128, [1]),
        (4096, 128, [32]),
        (4097, 128, [32, 33]),
        (20_000, 128, [32, 48, 64, 96, 128, 157]),
        (20_000, 16, [256, 384, 512, 768, 1024, 1250]),
        (20_000, 1000, [5, 7, 9, 13, 17, 20]),
        # Wide tiles: more runs than asked for, and no stage twice.
        (100_000, 16_384, [1, 2, 3, 4, 6, 7]),
    ],
)
def test_stages_end_after_enough_runs_each_half_or_a_third_longer(runs, width, stages):
    layout = cut([1.0], 1000, runs=runs, width=width, precise=True)
    assert list(layout.stages) == stages
