"""Training a click model, and its loss."""

from __future__ import annotations

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
CHUNK = 8192

Model = TypeVar("Model", bound=ClickModel)


def train(
    model: Model, features: Features, click: Any, key: Array, *, batch: int = 64, epochs: int = 1
) -> Model:
    """Adam on binary cross-entropy, in batches of rows shuffled anew in each epoch.

    A batch's loss is the sum over its rows plus the model's penalty; the last batch of an epoch
    may be smaller.

    Args:
        model: with initial parameters.
        features: leaves [rows, ...].
        click: [rows], 0 or 1.
        key: of the shuffling.
        batch: rows in a batch.
        epochs: passes over the rows.

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
    trained, loss = _train(
        model, jax.tree.map(jnp.asarray, features), jnp.asarray(click, float), key, batch, epochs
    )
    if not np.isfinite(loss):
        raise InputError("features must be finite: training met a loss that is not")
    return trained


@eqx.filter_jit
def _train(
    model: Any, features: Features, click: Array, key: Array, batch: int, epochs: int
) -> tuple[Any, Array]:
    parameters, structure = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.adam(LEARNING_RATE)
    rows = click.shape[0]
    steps = -(-rows // batch)

    def loss(parameters: Any, index: Array, used: Array) -> Array:
        model = eqx.combine(parameters, structure)
        logit = jax.vmap(model)(jax.tree.map(lambda x: x[index], features))
        each = optax.sigmoid_binary_cross_entropy(logit, click[index])
        return jnp.sum(jnp.where(used, each, 0)) + model.penalty()

    def step(carry: Any, rows_of_batch: tuple[Array, Array]) -> tuple[Any, Array]:
        parameters, state = carry
        value, gradient = jax.value_and_grad(loss)(parameters, *rows_of_batch)
        update, state = optimizer.update(gradient, state)
        return (optax.apply_updates(parameters, update), state), value

    def epoch(carry: Any, key: Array) -> tuple[Any, Array]:
        order = jax.random.permutation(key, rows)
        place = jnp.arange(steps * batch)
        index = order[place % rows].reshape(steps, batch)
        return lax.scan(step, carry, (index, (place < rows).reshape(steps, batch)))

    carry = parameters, optimizer.init(parameters)
    (parameters, _), values = lax.scan(epoch, carry, jax.random.split(key, epochs))
    return eqx.combine(parameters, structure), jnp.sum(values)


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
