"""What a study costs over the bare simulator: `python -m benchmarks.studies [--cells N]`.

A grid of alpha, delta and instance for OtO on 20 arms, 2000 rounds, 1000 runs a cell. The bare
simulator plays the same tiles and drops them; the study checks, plays, stores and merges.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.timing import machine
from jaxbandit.engine import tiles
from jaxbandit.studies.sweeps import blocks, cells, result, run, store
from jaxbandit.studies.sweeps.spec import Axis, Component, Online, Outputs, Study
from jaxbandit.studies.sweeps.toml import Source


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000, help="a cube, or the next smaller one")
    parser.add_argument("--repeats", type=int, default=3, help="from 2 on with an error")
    options = parser.parse_args()
    machine("zarr")
    side = round(options.cells ** (1 / 3))
    study = grid(side)
    source = Source("benchmark")
    before = len(tiles._PREPARED)
    built = cells.build(study, source, range(study.cells))
    root = cells.root_key(study)
    list(tiles.play_tiles(root, [(cells.shortened(built[0], 1e6).job, 0)]))  # compiles

    def bare() -> None:
        jobs = (built[index].job for index in range(study.cells))
        for _ in tiles.play_tiles(root, ((job, tile) for job in jobs for tile in range(job.tiles))):
            pass

    def swept() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run.run_study(run.plan(study, source), Path(folder) / "store")

    took: dict[str, list[tuple[float, float]]] = {"bare simulator": [], "study": []}
    for _ in range(options.repeats):
        for name, call in (("bare simulator", bare), ("study", swept)):
            with _timing() as (writing, merging):
                took[name].append(_seconds(call))
    rounds = study.cells * study.runs * study.longest
    print(
        f"\n{study.cells} cells, {rounds:.3g} rounds, {len(tiles._PREPARED) - before} program(s)"
        f"; means of {options.repeats}, in turn"
    )
    for name, times in took.items():
        wall, work = np.mean(times, axis=0)
        print(f"  {name:<16}{wall:8.1f} s wall {work:8.1f} s processor")
    over = np.divide(took["study"], took["bare simulator"]) - 1
    for name, ratios in zip(("wall", "processor"), over.T, strict=True):
        error = f" +- {np.std(ratios, ddof=1) / len(ratios) ** 0.5:.1%}" if len(ratios) > 1 else ""
        print(f"  the study takes {np.mean(ratios):+.1%}{error} of {name} time")
    wall = took["study"][-1][0]
    parts = f"storing blocks {writing[0] / wall:.2%}, merging {merging[0] / wall:.2%}"
    print(f"  of the last study: {parts}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  peak memory of this process: {peak:,.0f} MB")


def grid(side: int) -> Study:
    """A cube of cells."""
    rng = np.random.default_rng(0)
    means = [rng.uniform(0.2, 0.8, 20).round(3).tolist() for _ in range(side)]
    oto = Component("oto", {})
    return Study(
        Online(
            horizon=2000,
            environment=Component("bernoulli", {}),
            policies={"oto": oto},
            offline=Component("offline", {"count": [50] * 10 + [0] * 10}),
            confidence=Component("confidence", {}),
        ),
        runs=1000,
        sweep=(
            Axis("alpha", {"policies.oto.alpha": tuple(np.geomspace(0.02, 5, side).tolist())}),
            Axis("delta", {"confidence.delta": tuple(np.geomspace(1e-4, 0.2, side).tolist())}),
            Axis("instance", {"environment.mean": tuple(means)}),
        ),
        outputs=Outputs(checkpoints=100),
    )


@contextmanager
def _timing() -> Iterator[tuple[list[float], list[float]]]:
    """Seconds in which blocks are written, and in which they are merged."""
    writing, merging = [0.0], [0.0]

    def timed(call: Callable[..., object], total: list[float]) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            started = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                total[0] += time.perf_counter() - started

        return wrapped

    write, writer = blocks.write_block, result.ResultWriter
    follow, finish = writer.follow, writer.finish
    store.write_block = timed(write, writing)
    writer.follow, writer.finish = timed(follow, merging), timed(finish, merging)
    try:
        yield writing, merging
    finally:
        store.write_block, writer.follow, writer.finish = write, follow, finish


def _seconds(call: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, work = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - work


if __name__ == "__main__":
    main()
