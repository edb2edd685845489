"""Encoding: codes, the devices' history, and what no feature may depend on."""

import numpy as np
import pytest

from jaxbandit.ctr.features import device_features, encode, fit_encoder
from jaxbandit.datasets.click_log import DEVICE, LOG_FIELDS, ClickLog, rows
from tests.ctr import oracle

ROWS, TRAINING = 400, 250
CATEGORIES = np.array([7] * len(LOG_FIELDS))


@pytest.fixture(scope="module")
def log():
    generator = np.random.default_rng(4)
    return ClickLog(
        generator.integers(2, size=ROWS).astype(np.int8),
        generator.integers(7, size=(ROWS, len(LOG_FIELDS))).astype(np.int32),
        generator.integers(6, size=ROWS).astype(np.int32),
    )


def fitted(log):
    return fit_encoder(rows(log, slice(TRAINING)), CATEGORIES)


def test_history_is_that_of_training_rows_of_earlier_days(log):
    found = device_features(fitted(log).history, log)
    device = log.category[:, DEVICE]
    for row in range(ROWS):
        expected = oracle.history(log.day, device, log.click, range(TRAINING), row)
        np.testing.assert_allclose(found[row], expected, rtol=1e-12)


def test_a_device_without_training_rows_has_no_history(log):
    strange = log._replace(category=log.category.copy())
    strange.category[:TRAINING, DEVICE] = np.minimum(strange.category[:TRAINING, DEVICE], 5)
    strange.category[TRAINING:, DEVICE] = 6
    found = device_features(fitted(strange).history, strange)
    assert not found[TRAINING:].any()
    assert found[:TRAINING].any()


@pytest.mark.parametrize("row", [3, TRAINING + 3])
def test_no_feature_of_a_row_depends_on_its_own_click(log, row):
    flipped = log._replace(click=log.click.copy())
    flipped.click[row] = 1 - flipped.click[row]
    before, after = (device_features(fitted(each).history, each) for each in (log, flipped))
    same_day = log.day == log.day[row]
    np.testing.assert_array_equal(before[same_day], after[same_day])


def test_clicks_that_do_not_train_change_nothing(log):
    flipped = log._replace(click=np.where(np.arange(ROWS) < TRAINING, log.click, 1 - log.click))
    for before, after in zip(
        encode(fitted(log), log), encode(fitted(flipped), flipped), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_rare_and_unseen_values_share_their_fields_unknown_code(log):
    category = log.category.copy()
    category[:, 0] = 0
    category[0, 0] = 1  # once
    category[1:3, 0] = 2  # twice
    category[TRAINING, 0] = 3  # never in training
    code = encode(fitted(log._replace(category=category)), log._replace(category=category)).code
    unknown, often, twice = code[0, 0], code[10, 0], code[1, 0]
    assert code[TRAINING, 0] == unknown
    assert len({unknown, often, twice}) == 3


def test_codes_of_fields_do_not_overlap(log):
    encoder = fitted(log)
    code = encode(encoder, log).code
    for column in range(1, code.shape[1]):
        assert code[:, column].min() > code[:, column - 1].max()
    assert code.max() < encoder.vocabulary
    for column in range(code.shape[1]):  # one to one: all values are seen twice
        pairs = set(zip(code[:, column].tolist(), log.category[:, column].tolist(), strict=True))
        assert len(pairs) == 7


def test_dense_features_are_scaled_by_training_rows(log):
    dense = encode(fitted(log), rows(log, slice(TRAINING))).dense
    np.testing.assert_allclose(dense.min(axis=0), 0)
    np.testing.assert_allclose(dense.max(axis=0), 1)
    assert encode(fitted(log), log).dense.max() <= 1
