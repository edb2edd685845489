"""What `simulate` asks of its arguments, before anything is compiled."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit.checks import InputError, check_count
from jaxbandit.engine.kept import Kept, kind_of
from jaxbandit.environments.base import Environment
from jaxbandit.policies.base import Policy, Problem, Round, check_functions


def check_horizon(horizon: Any) -> np.ndarray:
    """Rounds, [] or [cells]."""
    if np.ndim(horizon) == 0:
        return np.asarray(check_count("horizon", horizon), np.int32)
    rounds = np.asarray(horizon)
    if rounds.ndim != 1 or len(rounds) == 0:
        raise InputError(f"horizon must be a number or [cells], has shape {rounds.shape}")
    return np.asarray([check_count("horizon", t) for t in rounds.tolist()], np.int32)


def describe(draw: Any, key: Array) -> Environment:
    """A drawn environment, with shapes in place of its arrays."""
    drawn = None

    def parts(key: Array) -> tuple[Any, Array]:
        nonlocal drawn
        drawn = draw(key)
        if not isinstance(drawn, Environment):
            raise InputError(
                "environment must be an Environment, or a function key -> Environment; "
                f"the function gave {type(drawn).__name__}"
            )
        return drawn.params, drawn.mean

    params, mean = jax.eval_shape(parts, key)
    return cast(Environment, drawn)._replace(params=params, mean=mean)


def check_checkpoints(checkpoints: ArrayLike | None, horizon: int) -> np.ndarray:
    """Rounds at which to report, [checkpoints]."""
    if checkpoints is None:
        evenly = np.linspace(0, horizon, min(horizon, 200) + 1)[1:]
        return np.unique(np.round(evenly)).astype(np.int32)
    rounds = np.atleast_1d(np.asarray(checkpoints))
    if not np.issubdtype(rounds.dtype, np.integer) or rounds.ndim != 1 or len(rounds) == 0:
        raise InputError(f"checkpoints must be whole numbers of rounds, was {checkpoints!r}")
    if rounds[0] < 1 or rounds[-1] > horizon or np.any(np.diff(rounds) <= 0):
        raise InputError(
            f"checkpoints must increase from at least 1 to at most the horizon {horizon}, "
            f"was {checkpoints!r}"
        )
    return rounds.astype(np.int32)


def check_params(name: str, policy: Policy, problem: Problem) -> None:
    """Parameters that suit the problem, as far as the policy itself can tell."""
    try:
        policy.check(policy.params, problem)
    except InputError as error:
        raise InputError(f"policy {name!r}: {error}") from None


def check_policy(name: str, policy: Any, problem: Problem) -> None:
    """Parameters and shapes of one round, before anything is compiled."""
    if not isinstance(policy, Policy):
        raise InputError(f"policy {name!r} must be a Policy, was {type(policy).__name__}")
    check_params(name, policy, problem)
    check_functions(f"policy {name!r}", policy)
    leaves, structure = jax.tree.flatten((policy.params, problem._replace(limits=None)))
    types = tuple(map(jax.typeof, leaves))
    kind = kind_of(policy[1:], structure, types)
    if _SOUND.get(kind):
        return
    try:
        _check_round(policy, structure, types)
    except InputError as error:
        raise InputError(f"policy {name!r}: {error}") from None
    _SOUND.put(kind, True)


_SOUND: Kept[bool] = Kept(256)
"""Kinds of rounds that were looked at: to trace one takes longer than many a small simulation."""


def _check_round(functions: Policy, structure: Any, types: tuple[Any, ...]) -> None:
    """What a policy's functions give, from the types of its parameters and problem."""
    leaves = (jax.ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type) for t in types)
    params, problem = jax.tree.unflatten(structure, leaves)
    state = jax.eval_shape(functions.init, params, problem)
    key = jax.eval_shape(jax.random.key, 0)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    round: Any = Round(cast(Any, number), problem.horizon, key, problem.reference)
    arm = jax.eval_shape(functions.select, params, state, round)
    if arm.shape != () or not jnp.issubdtype(arm.dtype, jnp.integer):
        raise InputError(
            f"select must give one integer arm, gave {arm.dtype}{list(arm.shape)}"
            + ("; for many values of a parameter give a grid of policies" if arm.shape else "")
        )
    reward = jax.ShapeDtypeStruct((), problem.count.dtype)
    after = jax.eval_shape(functions.update, params, state, round, arm, reward)

    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)

    if shapes(after) != shapes(state):
        raise InputError(
            "update must give a state of the same structure, shapes and types as "
            f"init; init gives {shapes(state)}, update gives {shapes(after)}"
        )
