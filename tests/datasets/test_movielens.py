import gzip
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbandit.checks import InputError
from jaxbandit.datasets import load_movielens

ROWS = [(7, 30, 4.5, 978300760), (9, 10, 0.5, 0), (7, 10, 5, 1), (8, 30, 3, 978300761)]
CSV_HEADER = "userId,movieId,rating,timestamp\n"
INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
LAYOUTS = {
    "ratings.dat": ("", "::"),
    "u.data": ("", "\t"),
    "ratings.csv": (CSV_HEADER, ","),
    "ml-1m.inter": (INTER_HEADER, "\t"),
}


def text(name, rows=ROWS):
    header, separator = LAYOUTS[name]
    return header + "".join(separator.join(map(str, row)) + "\n" for row in rows)


def pack(path: Path, packing: str, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    if packing == "plain":
        path.write_bytes(content)
    elif packing == "gz":
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path.with_name("ml-1m.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ml-1m/README", "")
            archive.writestr(f"__MACOSX/{path.name}", "")
            archive.writestr(f"ml-1m/{path.name}", content)


def message(path) -> str:
    with pytest.raises(InputError) as caught:
        load_movielens(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_rows(ratings):
    assert ratings.user.tolist() == [0, 2, 0, 1]
    assert ratings.movie.tolist() == [1, 0, 0, 1]
    assert ratings.rating.tolist() == [4.5, 0.5, 5, 3]
    assert ratings.user_ids.tolist() == [7, 8, 9]
    assert ratings.movie_ids.tolist() == [10, 30]
    assert (ratings.user.dtype, ratings.movie.dtype) == (np.int32, np.int32)
    assert ratings.rating.dtype == np.float32


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("packing", ["plain", "gz", "zip"])
@pytest.mark.parametrize("folder", [".", "ml-1m"])
def test_every_published_form_is_found_and_reads_the_same(tmp_path, name, packing, folder):
    pack(tmp_path / folder / name, packing, text(name).encode())
    assert_rows(load_movielens(tmp_path))


@pytest.mark.parametrize("packed", ["u.data", "u.data.gz", "ml-1m.zip"])
def test_a_file_may_be_named_itself(tmp_path, packed):
    packing = {"u.data": "plain", "u.data.gz": "gz", "ml-1m.zip": "zip"}[packed]
    pack(tmp_path / "u.data", packing, text("u.data").encode())
    (tmp_path / "ratings.csv").write_text("another")
    assert_rows(load_movielens(tmp_path / packed))


def test_an_unpacked_file_goes_before_the_archive_it_came_in(tmp_path):
    (tmp_path / "ml-1m.zip").write_bytes(b"not even an archive")
    pack(tmp_path / "ml-1m" / "ratings.dat", "plain", text("ratings.dat").encode())
    assert_rows(load_movielens(tmp_path))


def test_windows_line_ends_and_a_missing_last_one(tmp_path):
    for name in ("ratings.csv", "ratings.dat"):
        content = text(name).replace("\n", "\r\n").removesuffix("\r\n")
        (tmp_path / name).write_bytes(content.encode())
        assert_rows(load_movielens(tmp_path / name))


def test_two_candidates_are_not_chosen_between(tmp_path):
    for name in ("u.data", "ratings.dat"):
        (tmp_path / name).write_text(text(name))
    assert "several ratings files" in message(tmp_path)
    assert "u.data" in message(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text(""), lambda path: None])
def test_nothing_there_says_what_was_looked_for_and_the_option(tmp_path, make):
    make(tmp_path / "somewhere")
    said = message(tmp_path / "somewhere")
    for word in ("somewhere", "ratings.dat", "u.data", "ratings.csv", "--movielens DIR"):
        assert word in said


FAULTS = {
    "short": ("7,10,5", "found 3"),
    "long": ("7,10,5,1,1", "found 5"),
    "word": ("7,10,five,1", "'five'"),
    "no user": (",10,5,1", "''"),
    "negative": ("-7,10,5,1", "'-7'"),
    "title": ("7,Heat,5,1", "'Heat'"),
    "quoted": ('"7",10,5,1', "'\"7\"'"),
    "time": ("7,10,5,noon", "'noon'"),
    "above": ("7,10,5.5,1", "within [0.5, 5.0], found 5.5"),
    "below": ("7,10,0,1", "found 0"),
    "infinite": ("7,10,inf,1", "found inf"),
    "nan": ("7,10,nan,1", "found nan"),
    "twice": ("9,10,4,3", "user 9 rates movie 10 again (already rated on line 3)"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_bad_line_is_named_with_its_file(tmp_path, name, fault):
    header, separator = LAYOUTS[name]
    line, said = FAULTS[fault]
    lines = text(name).splitlines()
    first = 1 if header else 0
    lines.insert(first + 2, line.replace(",", separator))
    if not header:
        said = said.replace("line 3", "line 2")
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert f"{name}, line {first + 3}: " in message(tmp_path)
    assert said in message(tmp_path)


def test_a_file_cut_within_a_line(tmp_path):
    (tmp_path / "ratings.dat").write_text(text("ratings.dat")[:-12])
    assert "ratings.dat, line 4: expected 4 fields separated by '::', found 3" in message(tmp_path)


def test_separators_of_another_release(tmp_path):
    (tmp_path / "ratings.dat").write_text(text("u.data"))
    assert "line 1: expected 4 fields separated by '::', found 1" in message(tmp_path)


@pytest.mark.parametrize("name", ["ratings.csv", "ml-1m.inter"])
def test_another_header(tmp_path, name):
    (tmp_path / name).write_text("a,b,c\n")
    assert f"{name}, line 1: expected the header" in message(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("ratings.dat", ""), ("ratings.csv", CSV_HEADER)])
def test_an_empty_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert f"{name}: has no ratings" in message(tmp_path)


@pytest.mark.parametrize("name", ["ratings.dat.gz", "ml-1m.zip"])
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_archive(tmp_path, name, kept):
    rows = [(user, movie, 3, user * movie) for user in range(50) for movie in range(20)]
    pack(tmp_path / "ratings.dat", name.rsplit(".")[-1], text("ratings.dat", rows).encode())
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert message(tmp_path).startswith(f"{path}: the archive is truncated or damaged")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "u.data").write_text(text("u.data"))
    monkeypatch.setitem(sys.modules, "polars", None)
    assert "install the extra 'studies'" in message(tmp_path)


def plainly(content: str) -> list | None:
    """What a reader of one line at a time makes of `::`-separated ratings; None if it objects."""
    rows = [line.rstrip("\r").split("::") for line in content.split("\n") if line.rstrip("\r")]
    try:
        rows = [(int(a), int(b), float(c), float(d)) for a, b, c, d in rows]
    except ValueError:
        return None
    good = rows and all(0.5 <= row[2] <= 5 for row in rows) and len({r[:2] for r in rows})
    return rows if good == len(rows) else None


def field(alphabet="0123456789"):
    return st.text(alphabet, min_size=1, max_size=2)


lines = st.tuples(field(), field(), st.sampled_from("12345"), field()).map("::".join)
odd = st.text("0123456789:\t\r .,e-\"'nax", max_size=12)


@given(st.lists(lines | odd, max_size=5).map("\n".join))
def test_whatever_is_in_the_file_it_is_read_right_or_refused(content):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "ratings.dat").write_bytes(content.encode())
        ratings, refused = None, ""
        try:
            ratings = load_movielens(directory)
        except InputError as error:
            refused = str(error)
    if ratings is None:
        assert "ratings.dat" in refused
        return
    expected = plainly(content)
    assert expected is not None
    assert ratings.user_ids[ratings.user].tolist() == [row[0] for row in expected]
    assert ratings.movie_ids[ratings.movie].tolist() == [row[1] for row in expected]
    np.testing.assert_array_equal(ratings.rating, np.float32([row[2] for row in expected]))


def test_movielens_100k(movielens_100k, movielens_100k_files):
    assert len(movielens_100k.user_ids) == 943
    assert len(movielens_100k.movie_ids) == 1682
    stars = np.bincount(movielens_100k.rating.astype(int))
    assert stars.tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    for ours, recbole in zip(
        movielens_100k, load_movielens(movielens_100k_files.parent / "recbole"), strict=True
    ):
        np.testing.assert_array_equal(ours, recbole)
