"""Training a click model, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from jaxbandit.checks import InputError, check_count
from jaxbandit.ctr.features import Features
from jaxbandit.ctr.models import ClickModel

LEARNING_RATE = 1e-3
# Rows that predictions are made for at once: what they need fits a core's cache.
CHUNK = 512

Model = TypeVar("Model", bound=ClickModel)


def train(
    model: Model,
    features: Features,
    click: np.ndarray,
    *,
    batch: int = 64,
    epochs: int = 1,
    seed: int | Sequence[int] = 0,
) -> Model:
    """Adam on binary cross-entropy, in batches of rows shuffled anew in each epoch.

    A batch's loss is the sum over its rows plus the model's penalty; the last batch of an epoch
    may be smaller.

    Args:
        model: with initial parameters.
        features: leaves [rows, ...].
        click: [rows], 0 or 1.
        batch: rows in a batch.
        epochs: passes over the rows.
        seed: of the shuffling.

    Raises:
        InputError: no rows, clicks that are all alike, or a loss that is not finite.
    """
    rows = len(click)
    check_count("batch", batch)
    check_count("epochs", epochs)
    if rows == 0 or np.all(np.asarray(click) == np.asarray(click)[0]):
        raise InputError(
            f"click must have zeros and ones to train on, had {int(np.sum(click))} ones in {rows} "
            "rows; give more rows"
        )
    draw = np.random.default_rng(seed)
    order = np.stack([draw.permutation(rows) for _ in range(epochs)])
    steps = -(-rows // batch)
    place = np.arange(steps * batch)
    index = order[:, place % rows].reshape(epochs * steps, batch)
    used = jnp.asarray(np.tile((place < rows).reshape(steps, batch), (epochs, 1)))
    trained, loss = _train(
        model,
        jax.tree.map(jnp.asarray, features),
        jnp.asarray(click, float),
        jnp.asarray(index),
        used,
    )
    if not np.isfinite(loss):
        raise InputError("features must be finite: training met a loss that is not")
    return trained


@eqx.filter_jit
def _train(
    model: Any, features: Features, click: Array, index: Array, used: Array
) -> tuple[Any, Array]:
    parameters, structure = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.adam(LEARNING_RATE)

    def step(carry: Any, batch: tuple[Array, Array]) -> tuple[Any, Array]:
        parameters, state = carry
        row, valid = batch
        chosen = jax.tree.map(lambda x: x[row], features), click[row], valid
        value, gradient = jax.value_and_grad(batch_loss)(parameters, structure, *chosen)
        update, state = optimizer.update(gradient, state)
        return (optax.apply_updates(parameters, update), state), value

    start = parameters, optimizer.init(parameters)
    (parameters, _), values = lax.scan(step, start, (index, used))
    return eqx.combine(parameters, structure), jnp.sum(values)


def batch_loss(
    parameters: Any, structure: Any, features: Features, click: Array, valid: Array
) -> Array:
    """Cross-entropy summed over a batch's valid rows, plus the model's penalty.

    Args:
        parameters, structure: the model, as `equinox.partition` splits it.
        features: leaves [batch, ...].
        click: [batch].
        valid: [batch], False for rows that only fill the batch.
    """
    model = eqx.combine(parameters, structure)
    each = optax.sigmoid_binary_cross_entropy(jax.vmap(model)(features), click)
    return jnp.sum(jnp.where(valid, each, 0)) + model.penalty()


def predict(model: ClickModel, features: Features) -> np.ndarray:
    """Probabilities of a click, [rows]."""
    rows = len(features.code)
    if rows == 0:
        return np.zeros(0, np.float32)
    parts = []
    for start in range(0, rows, CHUNK):
        part = jax.tree.map(lambda x, a=start: x[a : a + CHUNK], features)
        # Padded, so that one program serves all chunks.
        padding = CHUNK - len(part.code)
        padded = jax.tree.map(lambda x, p=padding: np.pad(x, ((0, p), (0, 0))), part)
        parts.append(np.asarray(_predict(model, padded))[: len(part.code)])
    return np.concatenate(parts)


@eqx.filter_jit
def _predict(model: Any, features: Features) -> Array:
    return jax.nn.sigmoid(jax.vmap(model)(features))


class Loss(NamedTuple):
    """Binary cross-entropy."""

    mean: float
    sem: float
    """Standard error over rows."""
    rows: int


def cross_entropy(click: np.ndarray, probability: np.ndarray) -> Loss:
    """Mean of minus the log of the probability given to what happened, in nats."""
    given = np.where(click == 1, probability, 1 - np.asarray(probability, np.float64))
    each = -np.log(np.maximum(given, 1e-7))
    return Loss(float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5), len(each))
