"""Run until precise: where a cell stops follows from its runs alone."""

import numpy as np
import pytest

from jaxbandit.studies import run
from jaxbandit.studies.exports import open_result
from jaxbandit.studies.layout import Layout, cut
from jaxbandit.studies.result import RESULT
from tests.studies.sweeps import STUDY, contents, planned

TARGET = 0.035
PRECISE = f"""
{STUDY}
[precision]
standard_error = {TARGET}
policy = "oto"
minus = "ucb"
"""


def sems(values):
    return np.std(values, axis=-1, ddof=1) / np.sqrt(values.shape[-1])


@pytest.fixture(scope="module")
def finals(complete):
    """Regret of every run, [policies, cells, runs], without stopping."""
    values = open_result(complete)["final_regret"].astype(float)
    return values.stack(cell=("alpha", "delta", "instance")).transpose("policy", "cell", "run")


@pytest.mark.parametrize(
    ("ending", "measure"),
    [
        ('policy = "oto"\nminus = "ucb"', lambda v: sems(v[1] - v[0])),
        ('policy = "oto"', lambda v: sems(v[1])),
        ("", lambda v: sems(v).max(axis=0)),
    ],
)
def test_cells_stop_at_the_first_power_of_two_that_is_enough(finals, tmp_path, ending, measure):
    values = finals.to_numpy()
    target = float(np.median(measure(values[..., :1024])))
    text = f"{STUDY}\n[precision]\nstandard_error = {target}\n{ending}"
    run.run_study(planned(text), tmp_path / "store")
    result = open_result(tmp_path / "store").stack(cell=("alpha", "delta", "instance"))
    expected = np.full(8, 2100)
    for runs in (2048, 1024, 512):
        expected[measure(values[..., :runs]) <= target] = runs
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(result["runs"], expected)
    reached = np.array([measure(values[..., :n])[cell] for cell, n in enumerate(expected)])
    np.testing.assert_array_equal(result["precise"], reached <= target)
    last = result["regret_mean"].isel(checkpoint=-1).sel(policy="oto")
    means = [values[1, cell, :n].mean() for cell, n in enumerate(expected)]
    np.testing.assert_allclose(last, means, rtol=1e-5)


def test_shards_and_threads_stop_alike(tmp_path):
    plan = planned(PRECISE)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run.run_study(plan, whole).result
    for part in (2, 3, 1):
        run.run_study(plan, parts, shard=(part, 3), threads=part)
    assert contents(parts / RESULT) == contents(whole / RESULT)


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
        doubled = 2 ** np.arange(len(layout.stages) - 1)
        np.testing.assert_array_equal(layout.stages[:-1], doubled)
