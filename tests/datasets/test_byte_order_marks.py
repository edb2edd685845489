"""Byte order marks before the files that users write."""

from jaxbandit.datasets.movielens import load_movielens
from jaxbandit.studies.sweeps import toml

BOM = b"\xef\xbb\xbf"


def test_movielens(tmp_path):
    text = b"userId,movieId,rating,timestamp\n1,2,3.0,4\n1,3,4.5,5\n"
    (tmp_path / "ratings.csv").write_bytes(BOM + text)
    assert load_movielens(tmp_path).rating.tolist() == [3.0, 4.5]


def test_toml(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(BOM + b"runs = 2\n[environment]\n")
    tables, source = toml.read(path)
    assert tables == {"runs": 2, "environment": {}}
    assert source.lines == {"runs": 1, "environment": 2}
