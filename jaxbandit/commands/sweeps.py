"""`jaxbandit sweep`, `status`, `plot` and `export`: large studies of your own."""

from __future__ import annotations

from pathlib import Path


def sweep(
    study: Path,
    /,
    out: Path | None = None,
    dry_run: bool = False,
    shard: str | None = None,
    cluster: str | None = None,
    threads: int | None = None,
    yes: bool = False,
    quiet: bool = False,
) -> None:
    """Run a study of many cells into a store; the same command again goes on where it stopped.

    Args:
        study: STUDY.toml; the page "Studies: large sweeps" of the documentation has the format.
        out: folder of the store.
        dry_run: only say what it would take.
        shard: I/N, compute the I-th of N parts, each started with the same file and folder.
        cluster: address of a Dask scheduler whose workers compute.
        threads: tiles computed at once on a CPU; default: one more than there are cores.
        yes: run a study of absurd size too.
        quiet: print nothing but errors.
    """
    from jaxbandit.studies.sweeps import operations

    operations.sweep(
        study,
        out,
        dry_run=dry_run,
        shard=shard,
        cluster=cluster,
        threads=threads,
        yes=yes,
        quiet=quiet,
    )


def status(store: Path, /) -> None:
    """Print how far a study has come.

    Args:
        store: folder of the study, the --out of `jaxbandit sweep`.
    """
    from jaxbandit.studies.sweeps import operations

    operations.status(store)


def plot(store: Path, /, out: Path | None = None) -> None:
    """Draw a study's result.

    Args:
        store: folder of the study, the --out of `jaxbandit sweep`.
        out: the picture, a .png; default: result.png in the folder.
    """
    from jaxbandit.studies.sweeps import picture

    print(f"wrote {picture.plot(store, out)}")


def export(store: Path, file: Path, /) -> None:
    """Write a study's result as a table or as NetCDF.

    Args:
        store: folder of the study, the --out of `jaxbandit sweep`.
        file: ends in .csv, .parquet or .nc.
    """
    from jaxbandit.studies.sweeps import exports

    exports.export(store, file)
