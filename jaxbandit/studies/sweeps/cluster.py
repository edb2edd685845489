"""Blocks computed by the workers of a Dask cluster; this process stores what they send.

A worker needs jaxbandit, not the store. Blocks of workers that are lost go to others.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Event, Thread
from typing import Any

from jaxbandit.checks import InputError
from jaxbandit.extras import install
from jaxbandit.studies.sweeps import cells, reading, spec
from jaxbandit.studies.sweeps.blocks import Arrays
from jaxbandit.studies.sweeps.cells import Cell
from jaxbandit.studies.sweeps.compute import Advance, compute, identity
from jaxbandit.studies.sweeps.layout import Block
from jaxbandit.studies.sweeps.run import Compute, Plan
from jaxbandit.studies.sweeps.spec import Study
from jaxbandit.studies.sweeps.toml import Source

# Blocks that wait at the scheduler for each worker: enough that none idles, few enough to start
# where the study was left.
_WAITING = 2
_RETRIES = 10
_SECONDS = 10
# After how long without a worker it is said, and said again.
_PATIENCE = 10, 30
_LOST = "the same command goes on from what is stored"


def on_cluster(address: str, plan: Plan) -> Compute:
    """What computes blocks on the cluster of a scheduler.

    Raises:
        InputError: Dask is not installed, or no scheduler answers.
    """
    try:
        import distributed
    except ModuleNotFoundError:
        raise InputError(f"a cluster needs another package; {install('cluster')}") from None
    # What the user has to know is said by the errors below; its log adds tracebacks.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        # A client that fails is waited for when the process ends.
        asyncio.run(_call(address))
        client = distributed.Client(address, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address}: {error}; "
            "give the address that `dask scheduler` prints, as tcp://host:8786"
        ) from None
    ours = identity(plan.study, plan.layout.width)

    def compute_blocks(
        study: Study, blocks: list[Block], advance: Advance
    ) -> Iterator[tuple[Block, Arrays, Any]]:
        table = spec.to_table(study)
        todo = iter(blocks)
        workers = client.scheduler_info()["workers"]
        first = [next(todo, None) for _ in range(_WAITING * max(1, len(workers)))]

        def submit(block: Block) -> Any:
            return client.submit(_block, table, tuple(block), pure=False, retries=_RETRIES)

        running = {submit(block): block for block in first if block is not None}
        done = distributed.as_completed(running, loop=client.loop)
        with _saying_who_is_missing(client, address):
            for future in done:
                block = running.pop(future)
                theirs, arrays, provenance = _received(future, address)
                if theirs != ours:
                    different = {name for name in ours if ours[name] != theirs.get(name)}
                    raise InputError(
                        f"a worker has other versions than this process: {', '.join(different)}; "
                        "install the same on all"
                    )
                following = next(todo, None)
                if following is not None:
                    another = submit(following)
                    running[another] = following
                    done.add(another)
                advance(plan.layout.runs_of(block))
                yield block, arrays, provenance

    return compute_blocks


async def _call(address: str) -> None:
    """Connect to a scheduler, and hang up.

    Raises:
        OSError: nothing answers.
        ValueError, TypeError, ImportError: it is no address, or of a kind that is not set up.
    """
    from distributed import Security
    from distributed.comm.core import connect

    options: dict[str, Any] = Security().get_connection_args("client")
    connection = await connect(address, timeout=_SECONDS, **options)
    await connection.close()


@contextmanager
def _saying_who_is_missing(client: Any, address: str) -> Generator[None]:
    """Say it, now and again, while the scheduler has no worker."""
    ended = Event()

    def watch() -> None:
        wait, again = _PATIENCE
        while not ended.wait(wait):
            wait = again
            try:
                workers = client.scheduler_info()["workers"]
            except Exception:  # Whatever a lost scheduler raises; the results' own error says it.
                return
            if not workers:
                print(
                    f"jaxbandit: the scheduler at {address} has no workers; blocks wait for one: "
                    f"dask worker {address} --nthreads 1",
                    file=sys.stderr,
                    flush=True,
                )

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _received(future: Any, address: str) -> tuple[dict[str, Any], Arrays, Any]:
    """What a worker gives; why it does not."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    try:
        return future.result()
    except KilledWorker as error:
        raise InputError(
            f"workers died again and again computing one block ({error}); they may lack memory. "
            f"{_LOST}"
        ) from None
    except (RuntimeError, ImportError) as error:
        raise InputError(
            f"the cluster at {address} cannot compute a block: {' '.join(str(error).split())}; the "
            "scheduler and all workers need the same packages as this process"
        ) from None
    except (FutureCancelledError, CommClosedError, TimeoutError):
        raise InputError(f"the Dask scheduler at {address} is lost; {_LOST}") from None


def _block(table: dict[str, Any], block: tuple[Any, ...]) -> tuple[dict[str, Any], Arrays, Any]:
    """On a worker: compute one block."""
    wanted = Block(*block)
    study = reading.from_table(table, Source("study"))
    built = _built(spec.dumps(study), wanted.cells)
    ((_, arrays, provenance),) = compute(study, built, [wanted])
    return identity(study, built[wanted.cells[0]].job.width), arrays, provenance


@lru_cache(maxsize=4)
def _built(text: str, indices: tuple[int, ...]) -> dict[int, Cell]:
    import tomllib

    study = reading.from_table(tomllib.loads(text), Source("study"))
    return cells.build(study, Source("study"), indices)
