"""Click models in production: the log a deployed model leaves, and a table of rewards.

The preparatory phase of Sentenac et al. 2025, sections 6.2 and 10.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxbandit.checks import InputError
from jaxbandit.ctr.features import Encoder, encode, fit_encoder
from jaxbandit.ctr.models import ClickModel, Shape, build
from jaxbandit.ctr.training import Loss, cross_entropy, predict, train
from jaxbandit.datasets.click_log import ClickLog, rows
from jaxbandit.engine import devices

CHOICES = 10
"""Advertisements that a model chooses one of."""
TRAINING_ROWS, LOGGED_ROWS, TABLE_ROWS = 30_000, 33_000, 300_000
NEEDED_ROWS = TRAINING_ROWS + CHOICES * (LOGGED_ROWS + TABLE_ROWS)
LEAST_ROWS = 5_000


class ModelSpec(NamedTuple):
    """A model and what it is trained on."""

    name: str
    architecture: str
    hidden: tuple[int, ...] | None
    """None for the architecture's default."""
    dataset: int
    """1, the uniform sample; 2, the log of the deployed model."""
    batch: int


# The paper does not say which of Models 2-7 is which.
PAPER_MODELS = (
    ModelSpec("model_1", "DCN", None, 1, 128),
    ModelSpec("model_2", "DIFM", None, 2, 64),
    ModelSpec("model_3", "DIFM", (256, 128, 64), 2, 64),
    ModelSpec("model_4", "DeepFM", None, 2, 64),
    ModelSpec("model_5", "DeepFM", (128, 128, 64), 2, 64),
    ModelSpec("model_6", "DCN", None, 2, 64),
    ModelSpec("model_7", "DCN", (256, 128, 64), 2, 64),
    ModelSpec("model_8", "DeepFM", None, 1, 128),
)
BASELINES = (
    ModelSpec("logistic", "logistic", None, 2, 64),
    ModelSpec("FM", "FM", None, 2, 64),
)


class Split(NamedTuple):
    """Rows of a log: Dataset 1, then groups to log from, then groups for the table."""

    training: int
    logged: int
    """Groups; Dataset 2 has a row of each."""
    table: int
    """Groups."""


class Trained(NamedTuple):
    """A model after training, with what encodes its features."""

    spec: ModelSpec
    model: ClickModel
    encoder: Encoder
    losses: dict[str, Loss]
    """On "test set 1", "test set 2" and "validation"."""

    def probability(self, log: ClickLog) -> np.ndarray:
        """Of a click, [rows]."""
        return predict(self.model, encode(self.encoder, log))


class Deployment(NamedTuple):
    """What the bandit phase needs, and what Table 3 shows."""

    rewards: UInt8[np.ndarray, "groups models"]
    """Whether the advertisement that a model chose of a group was clicked."""
    trained: tuple[Trained, ...]
    """`PAPER_MODELS`, then `BASELINES`."""
    references: dict[str, dict[str, Loss]]
    """Losses of no model: the training rows' click rates, the planted probabilities."""
    logged_clicks: int
    split: Split


def split_rows(number: int) -> Split:
    """The paper's sizes, or less where there are fewer rows.

    A quarter of the rows at most is Dataset 1, half at most is to log from, the rest is for the
    table, each up to the paper's size.

    Raises:
        InputError: fewer than `LEAST_ROWS`.
    """
    if number < LEAST_ROWS:
        raise InputError(
            f"the click log must have at least {LEAST_ROWS:,} rows to train and compare models, "
            f"has {number:,}; {NEEDED_ROWS:,} are the paper's"
        )
    training = min(TRAINING_ROWS, number // 4)
    logged = min(LOGGED_ROWS, number // (2 * CHOICES))
    table = min(TABLE_ROWS, (number - training) // CHOICES - logged)
    return Split(training, logged, table)


def worth(split: Split, rate: float) -> str:
    """What the rewards of a table can tell apart, in a sentence."""
    error = (2 * rate * (1 - rate) / split.table) ** 0.5
    return (
        f"the table's {split.table:,} rows tell two models' click rates apart if they differ by "
        f"more than about {2 * error:.4f} (two standard errors, were their choices independent)"
    )


def deploy(
    log: ClickLog, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Deployment:
    """Train Models 1 and 8, let Model 1 choose, train the others on what it chose, compare all.

    Dataset 1 is a uniform sample, a tenth of it Test Set 1. Model 1 chooses one of ten
    advertisements for each row of Dataset 2, an eleventh of which is Test Set 2. A tenth of the
    rest is held out of training for validation, as the authors did. Then all models choose from
    groups of rows not used so far. Groups do not overlap.

    Args:
        log: rows in random order.
        seed: of initial parameters and shuffling.
        progress: called with (models done, all models).

    Raises:
        InputError: too few rows, or none of those that train is clicked, or all are.
    """
    split = split_rows(len(log.click))
    categories = log.category.max(axis=0) + 1
    pool, logged_end = split.training, split.training + CHOICES * split.logged
    table_end = logged_end + CHOICES * split.table
    table = rows(log, slice(logged_end, table_end))
    steps = _Steps(len(PAPER_MODELS) + len(BASELINES), progress)

    first, test1 = _hold_out(rows(log, slice(pool)), 10)
    tests = {"test set 1": test1}
    specs = (*PAPER_MODELS, *BASELINES)
    of_dataset = {number: [spec for spec in specs if spec.dataset == number] for number in (1, 2)}
    on_first = _train_all(first, of_dataset[1], categories, seed, steps)

    choices = rows(log, slice(pool, logged_end))
    chosen = _choose(on_first[0].probability(choices))
    dataset2 = rows(choices, chosen)
    second, tests["test set 2"] = _hold_out(dataset2, 11)
    on_second = _train_all(second, of_dataset[2], categories, seed, steps)

    by_name = {one.spec.name: one for one in (*on_first, *on_second)}
    with ThreadPoolExecutor(devices.usable_cores()) as threads:
        every = [by_name[spec.name] for spec in specs]
        trained = tuple(threads.map(lambda one: _judge(one, tests), every))
        rewards = threads.map(
            lambda one: table.click[_choose(one.probability(table))], trained[: len(PAPER_MODELS)]
        )
        columns = np.stack(list(rewards), axis=1).astype(np.uint8)
    rates = {"click rate of Dataset 1": first, "click rate of Dataset 2": second}
    references = {name: _losses(tests, _constant(data)) for name, data in rates.items()}
    if log.probability is not None:
        references["planted model"] = _losses(tests, lambda test: test.probability)
    return Deployment(columns, trained, references, int(dataset2.click.sum()), split)


class _Steps:
    """Counts models that are trained."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None):
        self.done, self.total, self.progress = 0, total, progress

    def one_more(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _hold_out(log: ClickLog, share: int) -> tuple[ClickLog, ClickLog]:
    """All but the last of `share` parts, and that part."""
    cut = len(log.click) - len(log.click) // share
    return rows(log, slice(cut)), rows(log, slice(cut, None))


def _choose(probability: np.ndarray) -> np.ndarray:
    """The row of each group with the highest probability."""
    groups = probability.reshape(-1, CHOICES)
    return np.arange(len(groups)) * CHOICES + np.argmax(groups, axis=1)


def _train_all(
    data: ClickLog, specs: list[ModelSpec], categories: np.ndarray, seed: int, steps: _Steps
) -> list[Trained]:
    """Models trained on one dataset, as many at a time as there are cores."""
    training, validation = _hold_out(data, 10)
    encoder = fit_encoder(training, categories)
    features = encode(encoder, training)
    shape = Shape(encoder.vocabulary, features.code.shape[1], features.dense.shape[1])

    def one(spec: ModelSpec) -> Trained:
        number = [each.name for each in (*PAPER_MODELS, *BASELINES)].index(spec.name)
        model = build(spec.architecture, shape, spec.hidden, seed=(seed, number, 0))
        model = train(model, features, training.click, batch=spec.batch, seed=(seed, number, 1))
        steps.one_more()
        return _judge(Trained(spec, model, encoder, {}), {"validation": validation})

    with ThreadPoolExecutor(devices.usable_cores()) as threads:
        return list(threads.map(one, specs))


def _constant(data: ClickLog) -> Callable[[ClickLog], np.ndarray]:
    return lambda test: np.full(len(test.click), data.click.mean())


def _judge(one: Trained, tests: dict[str, ClickLog]) -> Trained:
    return one._replace(losses=one.losses | _losses(tests, one.probability))


def _losses(
    tests: dict[str, ClickLog], probability: Callable[[ClickLog], np.ndarray | None]
) -> dict[str, Loss]:
    losses = {}
    for name, test in tests.items():
        given = probability(test)
        assert given is not None
        losses[name] = cross_entropy(test.click, given)
    return losses
