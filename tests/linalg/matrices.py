"""Random matrices."""

import numpy as np


def random_spd(order, batch=(), seed=0):
    mixing = np.random.default_rng([seed, order]).normal(size=(*batch, order, 2 * order + 1))
    return mixing @ np.swapaxes(mixing, -1, -2) / order
