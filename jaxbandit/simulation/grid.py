"""Policies or environments that differ in their numbers only, played as one grid of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.checks import InputError
from jaxbandit.environments.base import Environment
from jaxbandit.policies.base import Policy
from jaxbandit.precision import settings


class Grid(NamedTuple):
    """One item a cell; made by `grid`."""

    item: Any
    """A Policy or an Environment whose arrays have a leading axis, cells."""
    cells: int
    """Number of items."""


@settings.usual()
def grid(items: Sequence[Policy] | Sequence[Environment]) -> Grid:
    """Several policies, or several environments, as one that `simulate` takes in a single program.

    Args:
        items: built by the same function, with other numbers of the same shapes.

    Raises:
        InputError: no items, items that are not of one kind, or numbers of different shapes.

    >>> import jaxbandit as jb
    >>> jb.grid([jb.oto(alpha=alpha) for alpha in (0.1, 0.2, 0.5)]).cells
    3
    """
    each: list[Any] = list(items)
    if not each or not all(isinstance(item, Policy | Environment) for item in each):
        raise InputError("grid takes a list of policies or a list of environments")
    # Items of a large grid are often given many times.
    places: dict[int, int] = {}
    rows = [places.setdefault(id(item), len(places)) for item in each]
    arrays: list[Any] = []
    for index, item in enumerate(each):
        if rows[index] < len(arrays):
            continue
        arrays.append(jax.tree.map(np.asarray, _arrays(item)))
        if _functions(item) != _functions(each[0]):
            raise InputError(
                f"grid takes items that differ in their numbers only, but item {index} has other "
                "functions than item 0; give other kinds under names of their own"
            )
        if jax.tree.map(np.shape, arrays[-1]) != jax.tree.map(np.shape, arrays[0]):
            raise InputError(
                f"grid takes items with numbers of the same shapes, but those of item {index} "
                "differ from those of item 0"
            )
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves)[rows], *arrays)
    if isinstance(each[0], Policy):
        # On the device once, rather than at each call; an environment's means keep their digits.
        stacked = jax.tree.map(jnp.asarray, stacked)
    return Grid(each[0]._replace(**stacked), len(each))


def cell(item: Any, index: Any) -> Any:
    """One cell of stacked arrays."""
    return jax.tree.map(lambda leaf: leaf[index], item)


def _arrays(item: Policy | Environment) -> dict[str, Any]:
    if isinstance(item, Policy):
        return {"params": item.params}
    return {name: array for name, array in item._asdict().items() if name != "reward"}


def _functions(item: Policy | Environment) -> Any:
    functions = item[1:] if isinstance(item, Policy) else (item.reward,)
    return functions, jax.tree.structure(_arrays(item))
