"""Real data, fetched once."""

from pathlib import Path

import pytest

from jaxbandit.datasets import Ratings, load_movielens
from tests.datasets.movielens_100k import movielens_100k_directory


@pytest.fixture(scope="session")
def movielens_100k_files() -> Path:
    return movielens_100k_directory()


@pytest.fixture(scope="session")
def movielens_100k(movielens_100k_files) -> Ratings:
    return load_movielens(movielens_100k_files)
