"""Encoded rows of the stand-in."""

from jaxbandit.ctr.features import encode, fit_encoder
from jaxbandit.ctr.models import Shape
from jaxbandit.datasets.avazu_like import avazu_like
from jaxbandit.datasets.click_log import click_log, rows


def standin(training, test):
    """Shape; features and log of training rows; features and log of others."""
    made = avazu_like(training + test, seed=6)
    log = click_log(made.table, made.probability)
    learnt, held = rows(log, slice(training)), rows(log, slice(training, None))
    encoder = fit_encoder(learnt, log.category.max(axis=0) + 1)
    features = encode(encoder, learnt)
    shape = Shape(encoder.vocabulary, *(x.shape[1] for x in features))
    return shape, features, learnt, encode(encoder, held), held
