"""Data from outside, and what is learnt from it once: MovieLens and its factorisation."""

from jaxbandit.datasets.factorization import Factorization, factorize
from jaxbandit.datasets.movielens import Ratings, fetch_movielens, load_movielens

__all__ = ["Factorization", "Ratings", "factorize", "fetch_movielens", "load_movielens"]
