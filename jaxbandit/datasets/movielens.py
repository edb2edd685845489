"""MovieLens ratings: read from the files GroupLens ships, or fetched from GroupLens.

The data may not be redistributed, so none of it is in this package.
"""

import codecs
import contextlib
import gzip
import logging
import os
import re
import time
import zipfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float32, Int32, Int64

from jaxbandit.checks import InputError
from jaxbandit.datasets.archives import unpacking
from jaxbandit.extras import install

if TYPE_CHECKING:
    import polars as pl

_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
_HASH = "md5:c4d9eecfca2ab87c1945afe126590906"
_TERMS = (
    "MovieLens is free for research with acknowledgement and may not be redistributed; cite "
    "Harper and Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4)"
)
_CHUNK = 1 << 16
"""Bytes in which a download gets on."""
_PATIENCE = 60.0
"""Seconds without getting on, after which it is given up."""
_LOWEST, _HIGHEST = 0.5, 5.0  # stars, in every release


class Ratings(NamedTuple):
    """Ratings of movies by users, at most one for each pair.

    Fields:
        user, movie: indices from 0 into `user_ids` and `movie_ids`.
        rating: stars, 0.5 to 5.
        user_ids, movie_ids: the data set's own ids, ascending.
    """

    user: Int32[np.ndarray, "records"]
    movie: Int32[np.ndarray, "records"]
    rating: Float32[np.ndarray, "records"]
    user_ids: Int64[np.ndarray, "users"]
    movie_ids: Int64[np.ndarray, "movies"]


def load_movielens(path: str | os.PathLike[str]) -> Ratings:
    """Read MovieLens ratings from any of the forms they are published in.

    Looked for in a directory, then one level below it: `ratings.dat` (ML-1M, ML-10M), `u.data`
    (ML-100K), `ratings.csv` (ML-20M and later) and RecBole's `*.inter`; as they are, then with
    `.gz` added, then inside a `.zip`. Two that come equally early are an error, not a choice.

    Args:
        path: the directory, or one such file or zip archive.

    Returns:
        Ratings in the file's order. Indices count only users and movies with a rating.

    Raises:
        InputError: nothing is found, the archive is damaged, or a line is malformed, out of range
            or rates a movie that the same user has rated before (no release of MovieLens has such
            a pair, so it means that the file is not what it should be). The message names the
            file and, from 1, the line.

    Source:
        Harper and Konstan 2015; each release's README.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     _ = pathlib.Path(directory, "ratings.dat").write_text("7::1::5::0\\n9::1::3::0\\n")
        ...     ratings = load_movielens(directory)
        >>> ratings.user.tolist(), ratings.movie.tolist(), ratings.user_ids.tolist()
        ([0, 1], [0, 0], [7, 9])
    """
    try:
        source = _find(Path(path))
        data = source.read()
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror or error})"
        ) from None
    return _parse(source, data)


def fetch_movielens(
    cache: str | os.PathLike[str] | None = None,
    url: str = _URL,
    known_hash: str = _HASH,
    notify: Callable[[str], object] = print,
) -> Path:
    """Download MovieLens 1M from GroupLens once, verify it and keep it in the user's cache.

    Args:
        cache: directory to keep the archive in; by default the user's cache for jaxbandit.
        url: where the archive is.
        known_hash: its checksum, written `algorithm:hexadecimal digest`.
        notify: called with one line before a download: source, place and terms of use. A copy
            that is already there and intact is used in silence.

    Returns:
        The archive's path, for `load_movielens`.

    Raises:
        InputError: it cannot be downloaded or stored, comes too slowly (a minute passes without
            another 64 KiB), or its checksum differs.

    Source:
        https://grouplens.org/datasets/movielens/1m/
    """
    pooch = _require("pooch", "downloading MovieLens")
    directory = Path(pooch.os_cache("jaxbandit") if cache is None else cache)
    name = url.rsplit("/", 1)[-1]
    target = directory / name
    algorithm, _, digest = known_hash.partition(":")
    try:
        if target.is_file() and pooch.file_hash(str(target), algorithm) == digest:
            return target
        notify(f"Downloading {url} to {directory}. {_TERMS}.")
        directory.mkdir(parents=True, exist_ok=True)
        # What comes is put where it belongs when whole, and goes with its folder if it is not.
        with TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as folder:
            _download(pooch, url, known_hash, name, folder)
            os.replace(Path(folder, name), target)
    except (OSError, ValueError) as error:  # a connection's errors, and a checksum's
        if (response := getattr(error, "response", None)) is not None:
            response.close()  # pooch leaves a refused request's connection open
        reason = " ".join(str(error).split())
        raise InputError(
            f"MovieLens could not be fetched from {url} ({reason}); download it by other means and "
            "give its directory with --movielens DIR"
        ) from None
    return target


class _Progress:
    """When a download last got on, as pooch reports it to progress bars."""

    def __init__(self) -> None:
        self.total = 0
        self.at = time.monotonic()

    def update(self, _: int) -> None:
        """Another chunk has come."""
        self.at = time.monotonic()

    def reset(self) -> None:
        """Asked for at the end, as is `close`."""

    def close(self) -> None:
        """Nothing to do."""


def _download(pooch: Any, url: str, known_hash: str, name: str, folder: str) -> None:
    """Download to a folder, while it gets on.

    A server that sends a byte now and then keeps a connection's own timeout from passing, within
    headers too, and nothing interrupts a thread that waits for it. So it waits in a thread of its
    own, which is abandoned; a process may end before it.

    Raises:
        TimeoutError: it does not get on.
    """
    progress, ended = _Progress(), Future[None]()
    # One attempt: whoever is offline should hear of it at once.
    download = pooch.HTTPDownloader(timeout=_PATIENCE, chunk_size=_CHUNK, progressbar=progress)

    def work() -> None:
        try:
            pooch.retrieve(url, known_hash, name, folder, downloader=download)
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    with _quiet(pooch.get_logger()):
        Thread(target=work, daemon=True).start()
        while (remaining := progress.at + _PATIENCE - time.monotonic()) > 0:
            wait([ended], remaining)
            if ended.done():
                return ended.result()
    raise TimeoutError(
        f"{urlsplit(url).hostname} sent less than {_CHUNK >> 10} KiB within {_PATIENCE:g} s"
    )


class _Layout(NamedTuple):
    """How one kind of file writes its four columns: user, movie, rating, timestamp."""

    separator: str
    header: str | None = None


class _Source(NamedTuple):
    name: str
    layout: _Layout
    read: Callable[[], bytes]


_LAYOUTS = {
    "ratings.dat": _Layout("::"),
    "u.data": _Layout("\t"),
    "ratings.csv": _Layout(",", "userId,movieId,rating,timestamp"),
    ".inter": _Layout("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
}


def _layout(name: str) -> _Layout | None:
    return _LAYOUTS[".inter"] if name.endswith(".inter") else _LAYOUTS.get(name)


def _find(path: Path) -> _Source:
    if path.is_file():
        sources = [*_plain([path]), *_gzipped([path]), *_zipped([path])]
        if len(sources) == 1:
            return sources[0]
    for look in (_plain, _gzipped, _zipped):
        for level in ("*", "*/*"):
            sources = list(look(sorted(path.glob(level)))) if path.is_dir() else []
            if len(sources) > 1:
                names = ", ".join(source.name for source in sources)
                raise InputError(f"{path}: several ratings files ({names}); give the path of one")
            if sources:
                return sources[0]
    what = "no MovieLens ratings there" if path.exists() else "no such file or directory"
    raise InputError(
        f"{path}: {what}; looked for ratings.dat, u.data, ratings.csv or *.inter, as they are, "
        "with .gz or in a .zip, there and one directory below; say where with --movielens DIR"
    )


def _plain(paths: list[Path]) -> Iterator[_Source]:
    for path in paths:
        if (layout := _layout(path.name)) and path.is_file():
            yield _Source(str(path), layout, path.read_bytes)


def _gzipped(paths: list[Path]) -> Iterator[_Source]:
    def read(path: Path) -> bytes:
        with unpacking(path):
            return gzip.decompress(path.read_bytes())

    for path in paths:
        if path.suffix == ".gz" and (layout := _layout(path.stem)):
            yield _Source(str(path), layout, partial(read, path))


def _zipped(paths: list[Path]) -> Iterator[_Source]:
    def read(path: Path, member: str) -> bytes:
        with unpacking(path), zipfile.ZipFile(path) as archive:
            return archive.read(member)

    for path in paths:
        if path.suffix == ".zip" and path.is_file():
            with unpacking(path), zipfile.ZipFile(path) as archive:
                members = archive.namelist()
            for member in members:
                folder, _, name = member.rpartition("/")
                if (layout := _layout(name)) and "/" not in folder and folder != "__MACOSX":
                    yield _Source(f"{path}/{member}", layout, partial(read, path, member))


def _parse(source: _Source, data: bytes) -> Ratings:
    pl = _require("polars", "reading ratings")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        frame = _read_frame(pl, source.layout, data)
        user_ids = frame["user"].unique().sort().to_numpy()
        movie_ids = frame["movie"].unique().sort().to_numpy()
        user = np.searchsorted(user_ids, frame["user"].to_numpy())
        movie = np.searchsorted(movie_ids, frame["movie"].to_numpy())
        if pl.Series(user * len(movie_ids) + movie).n_unique() < len(frame):
            raise ValueError("a user rates a movie twice")
    except (pl.exceptions.PolarsError, ValueError) as error:
        # Only now, with a fault known to be there, are lines worth reading one by one.
        reason = " ".join(str(error).split())[:200]
        where, what = _first_fault(source.layout, data) or (None, f"not ratings ({reason})")
        at = "" if where is None else f", line {where}"
        raise InputError(f"{source.name}{at}: {what}") from None
    rating = frame["rating"].to_numpy()
    return Ratings(user.astype(np.int32), movie.astype(np.int32), rating, user_ids, movie_ids)


def _read_frame(pl: Any, layout: _Layout, data: bytes) -> "pl.DataFrame":
    separator, header = layout
    if header is not None and data.partition(b"\n")[0].rstrip(b"\r") != header.encode():
        raise ValueError("unexpected header")
    if len(separator) > 1:
        # Polars splits at one character only. A tab that is there already would pass for it.
        if b"\t" in data:
            raise ValueError("a tab")
        data, separator = data.replace(separator.encode(), b"\t"), "\t"
    frame = pl.read_csv(
        data,
        has_header=False,
        skip_rows=0 if header is None else 1,
        separator=separator,
        quote_char=None,
        schema={"user": pl.Int64, "movie": pl.Int64, "rating": pl.Float32, "time": pl.Float64},
    )
    if frame.is_empty():
        raise ValueError("empty")
    # A short line is read as one with missing values. NaN is not within the range.
    missing = sum(frame.null_count().row(0))
    if missing or not frame["rating"].is_between(_LOWEST, _HIGHEST).all():
        raise ValueError("missing or out of range")
    if min(frame["user"].min(), frame["movie"].min()) < 0:
        raise ValueError("negative id")
    return frame.drop("time")


def _first_fault(layout: _Layout, data: bytes) -> tuple[int | None, str] | None:
    """The first line, from 1, that a reader would object to, and the objection."""
    seen: dict[tuple[int, int], int] = {}
    separator, header = layout
    lines = data.decode("latin-1").split("\n")
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r")
        if number == 1 and header is not None:
            if line != header:
                return 1, f"expected the header {header!r}, found {line[:80]!r}"
            continue
        if not line:
            continue
        fields = line.split(separator)
        if len(fields) != 4:
            return number, f"expected 4 fields separated by {separator!r}, found {len(fields)}"
        if not all(re.fullmatch(r"[0-9]+", field) for field in fields[:2]):
            return (
                number,
                f"user and movie must be whole numbers, found {fields[0]!r}, {fields[1]!r}",
            )
        try:
            rating, _ = float(fields[2]), float(fields[3])
        except ValueError:
            return number, f"rating and time must be numbers, found {fields[2]!r}, {fields[3]!r}"
        if not _LOWEST <= rating <= _HIGHEST:
            return number, f"a rating must be within [{_LOWEST}, {_HIGHEST}], found {fields[2]}"
        pair = int(fields[0]), int(fields[1])
        if pair in seen:
            first = f"already rated on line {seen[pair]}"
            return number, f"user {pair[0]} rates movie {pair[1]} again ({first})"
        seen[pair] = number
    return None if seen else (None, "has no ratings")


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Generator[None]:
    # pooch logs what `notify` has said already.
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _require(module: str, purpose: str) -> Any:
    try:
        return __import__(module)
    except ModuleNotFoundError:
        raise InputError(
            f"{purpose} needs {module}, which is not installed; {install('studies')}"
        ) from None
