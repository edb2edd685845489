"""Alternating least squares as the formula reads: NumPy, float64, loops."""

import numpy as np


def alternating_least_squares(user, movie, rating, start, users, regularizer, sweeps):
    """Factors of users and movies, and the traces of all hat matrices in the last sweep."""
    user_factor = np.zeros((users, start.shape[1]))
    movie_factor = np.array(start, np.float64)
    traces = 0.0
    for _ in range(sweeps):
        traces = ridge_rows(user_factor, user, movie_factor[movie], rating, regularizer)
        traces += ridge_rows(movie_factor, movie, user_factor[user], rating, regularizer)
    return user_factor, movie_factor, traces


def ridge_rows(factor, row, feature, rating, regularizer):
    """Overwrite each row's factors by its ridge regression; sum of the hat matrices' traces."""
    traces = 0.0
    for i in range(len(factor)):
        X, y = feature[row == i], rating[row == i]
        if len(y) == 0:
            factor[i] = 0
            continue
        inverse = np.linalg.inv(X.T @ X + regularizer * len(y) * np.eye(X.shape[1]))
        factor[i] = inverse @ X.T @ y
        traces += np.trace(X @ inverse @ X.T)
    return traces
