"""Options from TOML files: what is read, and what is refused in which words."""

from pathlib import Path

import pytest

from jaxbandit.checks import InputError
from jaxbandit.studies.bound_studies.options import Hieropo, Oto, load


@pytest.fixture
def read(tmp_path):
    def call(text, default):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return load(path, default)

    return call


def test_values(read):
    text = 'means = [1, 0.5]\ncounts = [3, 0]\nhorizons = 7\nruns = 9\nout = "there"\nquiet = true'
    got = read(text, Oto(seed=3))
    assert got == Oto(
        means=(1.0, 0.5),
        counts=(3, 0),
        horizons=(7,),
        runs=9,
        seed=3,
        out=Path("there"),
        quiet=True,
    )
    assert all(type(mean) is float for mean in got.means)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task = [5]", "no option 'task'; did you mean 'tasks'?"),
        ("horizons = [5]", "no option 'horizons'; did you mean"),
        ('file = "x"', "no option 'file'; did you mean"),
        ("tasks = [1.5]", "tasks must be whole numbers, was 1.5"),
        ("tasks = [true]", "tasks must be whole numbers, was True"),
        ('delta = "small"', "delta must be numbers, was 'small'"),
        ("out = 3", "out must be a path, was 3"),
        ("quiet = 1", "quiet must be true or false, was 1"),
        ("tasks = ", "is not TOML"),
    ],
)
def test_refused(read, text, words):
    with pytest.raises(InputError, match=r"study\.toml") as error:
        read(text, Hieropo())
    assert words in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        load(tmp_path / "nowhere.toml", Hieropo())
