"""The engine: the same bits however many runs, threads and devices; bad runs set apart."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.checks import InputError
from jaxbandit.engine import draws, programs, tiles
from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.engine.moments import Moments
from jaxbandit.engine.tile_output import TileOutput

WIDTH = 16


def noisy(static, root, runs, params):
    """A program whose bits would show any change: sums of many draws."""

    def one(run):
        normal = draws.normal(purpose_key(run_key(root, run), Purpose.LOG_NOISE), (3, 100))
        value = jnp.sum(normal, axis=1) * params["scale"]
        return jnp.where(jnp.any(run == params["bad"]), jnp.nan, value)

    value = jax.vmap(one)(runs)
    return TileOutput(averaged={"value": value}, kept=value)


def run(runs, *, scale=1.0, bad=(2**31,), **options):
    params = {"scale": jnp.float32(scale), "bad": jnp.asarray(bad, jnp.uint32)}
    return tiles.run_tiles(
        noisy, None, jax.random.key(3), params, runs=runs, width=WIDTH, **options
    )


def test_moments_are_those_of_the_runs():
    out = run(100)
    kept = np.asarray(out.kept, float)
    assert kept.shape == (100, 3)
    np.testing.assert_allclose(out.averaged["value"].mean, kept.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(out.averaged["value"].std, kept.std(axis=0, ddof=1), rtol=1e-5)
    assert out.averaged["value"].count == 100
    assert len(out.non_finite) == 0


@pytest.mark.parametrize("runs", [1, 15, 16, 17, 30])
def test_first_runs_are_the_same_bits(runs):
    np.testing.assert_array_equal(run(runs).kept, run(1000).kept[:runs])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit(threads):
    one, other = run(2000, threads=1), run(2000, threads=threads)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def job(runs, **params):
    params = {"scale": jnp.float32(1), "bad": jnp.asarray([2**31], jnp.uint32)} | params
    return programs.Job(noisy, None, params, runs, WIDTH)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "pieces",
    [
        [(0, range(40))],
        [(0, range(3, 30)), (1, range(30, 50)), (0, range(50, 55))],
        [(0, [5, 7, 8, 9, 9, 2]), (1, [0]), (0, [1])],
        [],
    ],
    ids=["one", "two", "gaps", "none"],
)
def test_tiles_come_in_the_order_asked_for_whatever_shares_a_call(pieces, threads):
    jobs = job(800), job(800, scale=jnp.float32(2))
    work = [(which, index) for which, indices in pieces for index in indices]
    played = tiles.play_tiles(
        jax.random.key(3), ((jobs[which], index) for which, index in work), threads=threads
    )
    kept = run(55 * WIDTH).kept
    count = 0
    for (which, index), (layout, tile) in zip(work, played, strict=True):
        expected = kept[index * WIDTH : (index + 1) * WIDTH] * (which + 1)
        np.testing.assert_array_equal(layout.kept(tile.kept), expected)
        averaged = layout.averaged(tile.moments)
        assert averaged["value"].count == np.clip(800 - index * WIDTH, 0, WIDTH)
        count += 1
    assert count == len(work)


def test_a_program_is_traced_once():
    traced = []

    def counting(static, root, runs, params):
        traced.append(runs)
        return noisy(static, root, runs, params)

    one = job(100)._replace(program=counting)
    for threads in (1, 2):
        work = [(one, index) for index in range(5)]
        assert len(list(tiles.play_tiles(jax.random.key(3), work, threads=threads))) == 5
    assert len(traced) == 1


def test_a_prepared_program_is_only_compiled(made):
    device, root = jax.local_devices()[0], jax.random.key(0)
    one = job(10)._replace(static="prepared")
    prepared = programs.prepare(one, root, one.params, device)
    assert {"trace", "lower"} <= set(made)
    made.clear()
    programs.call(prepared, one, range(1), root, one.params, device)
    assert set(made) == {"compile"}


def test_calls_are_long_but_not_at_the_end():
    one = job(1000)
    spans = tiles._spans(((one, i) for i in range(300)), tiles._Pace("cpu", 0.001), 2)
    lengths = [len(span) for _, span in spans]
    assert lengths[0] == max(lengths) == tiles.MOST_TILES
    assert lengths[-2:] == [1, 1]
    assert sorted(lengths, reverse=True) == lengths


@pytest.mark.parametrize(("seconds", "length"), [(np.inf, 1), (0.1, 1), (0.02, 2), (0.01, 5)])
def test_calls_are_short_where_tiles_take_long(seconds, length):
    one = job(1000)
    _, span = next(tiles._spans(((one, i) for i in range(300)), tiles._Pace("cpu", seconds), 2))
    assert len(span) == length


def test_threads_compute_in_the_precision_of_the_caller(x64):
    with jax.enable_x64(not x64):
        one, two = (run(200, threads=threads) for threads in (1, 2))
    assert one.kept.dtype == two.kept.dtype == run(200, threads=2).kept.dtype
    np.testing.assert_array_equal(one.kept, two.kept)


def test_a_tile_holds_on_to_no_other():
    for layout, tile in tiles.play_tiles(jax.random.key(3), [(job(80), 0)], threads=1):
        kept = layout.kept(tile.kept)
        base = kept if kept.base is None else kept.base
        assert base.nbytes == kept.nbytes


def test_non_finite_runs_are_named_and_left_out():
    bad = (3, 20, 40)
    with pytest.warns(UserWarning, match="3 of 41 runs are left out.* not finite; look at"):
        out = run(41, bad=bad)
    np.testing.assert_array_equal(out.non_finite, bad)
    good = np.delete(np.asarray(run(41).kept, float), bad, axis=0)
    assert out.averaged["value"].count == 38
    np.testing.assert_allclose(out.averaged["value"].mean, good.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(out.averaged["value"].std, good.std(axis=0, ddof=1), rtol=1e-5)


def test_a_bad_run_in_the_padding_is_nobodys():
    assert len(run(17, bad=(20,)).non_finite) == 0


def test_all_runs_bad_is_an_error():
    with pytest.raises(InputError, match="all 3 runs gave numbers that are not finite"):
        run(3, scale=np.inf)


def test_progress_is_told_of_every_tile():
    told = []
    run(40, progress=lambda done, runs: told.append((done, runs)))
    assert told == [(16, 40), (32, 40), (40, 40)]


@pytest.mark.parametrize("options", [{"runs": 0}, {"runs": 2.0}, {"runs": 20, "threads": 0}])
def test_counts_are_checked(options):
    name = "threads" if "threads" in options else "runs"
    with pytest.raises(InputError, match=rf"^{name} must be a whole number of at least 1"):
        run(**options)


_PRINT = """
import jax, numpy as np
from tests.engine.test_tiles import run
out = run(200, threads=2)
moments = out.averaged["value"]
print(len(jax.local_devices()), np.asarray(out.kept).tobytes().hex(),
      moments.mean.tobytes().hex(), moments.deviation.tobytes().hex())
"""


def test_two_devices_change_no_bit(root_directory, environment):
    lines = []
    for devices in (1, 2):
        flags = f"--xla_force_host_platform_device_count={devices}"
        done = subprocess.run(
            [sys.executable, "-c", _PRINT],
            env=environment | {"XLA_FLAGS": flags},
            cwd=root_directory,
            capture_output=True,
            text=True,
            check=True,
        )
        lines.append(done.stdout.split())
    assert [line[0] for line in lines] == ["1", "2"]
    assert lines[0][1:] == lines[1][1:]


def factors(static, root, runs, params):
    """A program that calls LAPACK for a batch, as a user's policy may."""
    entries = jax.vmap(lambda run: draws.normal(run_key(root, run), (24, 24)))(runs)
    factor = jnp.linalg.cholesky(entries @ jnp.swapaxes(entries, 1, 2) + 24 * jnp.eye(24))
    return TileOutput(averaged=jnp.sum(factor, axis=(1, 2)))


_FACTOR = """
import jax
from jaxbandit.engine import tiles
from tests.engine.test_tiles import factors
for seed in range(3):
    key = jax.random.key(seed)
    print(tiles.run_tiles(factors, None, key, (), runs=25_600, width=256).averaged.count)
"""


def test_batches_in_lapack_do_not_wait_for_each_other(root_directory, environment):
    done = subprocess.run(
        [sys.executable, "-c", _FACTOR],
        env=environment,
        cwd=root_directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout.split() == ["25600.0"] * 3


def test_merged_result_is_a_moments():
    assert isinstance(run(2).averaged["value"], Moments)
