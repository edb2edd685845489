"""Feedback as the Open Bandit Pipeline (obp) has it: plain dictionaries in and out.

Source:
    Saito et al. 2021, "Open Bandit Dataset and Pipeline"; its `BanditFeedback` and `action_dist`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxbandit import checks
from jaxbandit.checks import InputError


class ActionFeedback(NamedTuple):
    """Logged choices among the same actions in varying contexts.

    Fields:
        context: of each record.
        action: the logged one, from 0.
        reward: its reward.
        propensity: probability with which the logging policy took it.
        action_context: of each action; one-hot where the feedback has none.
        position: of the recommendation in a list, from 0; None where there is but one.
    """

    context: Float[np.ndarray, "records context_features"]
    action: Int[np.ndarray, " records"]
    reward: Float[np.ndarray, " records"]
    propensity: Float[np.ndarray, " records"]
    action_context: Float[np.ndarray, "actions action_features"]
    position: Int[np.ndarray, " records"] | None

    def features(self) -> Float[np.ndarray, "records actions features"]:
        """Feature vector of every action in every context: all products of their entries."""
        products = self.context[:, None, :, None] * self.action_context[None, :, None, :]
        return products.reshape(*products.shape[:2], -1)


def from_obp(feedback: Mapping[str, Any]) -> ActionFeedback:
    """Feedback from obp's dictionary, checked.

    Args:
        feedback: with `n_actions`, `context`, `action`, `reward` and `pscore`; `action_context`
            and `position` may be missing or None. Other keys are ignored.

    Raises:
        InputError: a key is missing, shapes disagree, an action is out of range, or a number is not
            finite or not a probability.
    """
    for key in ("n_actions", "context", "action", "reward", "pscore"):
        if feedback.get(key) is None:
            raise InputError(f"feedback must have {key!r}; it has {', '.join(map(str, feedback))}")
    actions = checks.check_count("feedback['n_actions']", feedback["n_actions"])
    context = np.asarray(feedback["context"], np.float64)
    checks.check_shape("feedback['context']", context, (None, None), "[records, features]")
    n = len(context)
    columns = {key: np.asarray(feedback[key]) for key in ("action", "reward", "pscore")}
    for key, column in columns.items():
        checks.check_shape(f"feedback[{key!r}]", column, (n,), "[records]")
    for key, column in {"context": context, **columns}.items():
        checks.check_finite(f"feedback[{key!r}]", column)
    action, propensity = columns["action"], columns["pscore"]
    checks.check_whole("feedback['action']", action, 0)
    if n and np.max(action) >= actions:
        raise InputError(
            f"feedback['action'] must lie below n_actions = {actions}, was {np.max(action)}"
        )
    if not np.all((propensity > 0) & (propensity <= 1)):
        raise InputError("feedback['pscore'] must lie in (0, 1]: it divides")
    given = feedback.get("action_context")
    action_context = np.eye(actions) if given is None else np.asarray(given, np.float64)
    axes = "[n_actions, features]"
    checks.check_shape("feedback['action_context']", action_context, (actions, None), axes)
    position = feedback.get("position")
    if position is not None:
        position = np.asarray(position)
        checks.check_shape("feedback['position']", position, (n,), "[records]")
        checks.check_whole("feedback['position']", position, 0)
    reward = columns["reward"].astype(np.float64)
    return ActionFeedback(context, action, reward, propensity, action_context, position)


def to_obp(feedback: ActionFeedback) -> dict[str, Any]:
    """obp's dictionary of this feedback."""
    return {
        "n_rounds": len(feedback.reward),
        "n_actions": len(feedback.action_context),
        "context": feedback.context,
        "action_context": feedback.action_context,
        "action": feedback.action,
        "position": feedback.position,
        "reward": feedback.reward,
        "pscore": feedback.propensity,
    }


def obp_action_dist(
    action: Int[np.ndarray, " records"], actions: int
) -> Float[np.ndarray, "records actions positions"]:
    """The `action_dist` that obp's estimators take, of a deterministic policy; one position."""
    return np.eye(actions)[np.asarray(action)][:, :, None]
