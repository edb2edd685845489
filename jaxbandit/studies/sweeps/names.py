"""Names in a study's result: its quantities, and what an axis or a policy may be called."""

from __future__ import annotations

from collections.abc import Mapping

MEANING: Mapping[str, str] = {
    "regret": "regret against the best arm",
    "logging_regret": "regret against playing arms as often as the offline data has them",
    "reward": "sum of rewards so far",
    "pulls": "pulls of each arm in all rounds",
    "suboptimality": "of the actions taken, averaged over tasks and contexts",
    "difference": "regret, or suboptimality, of the first of a pair less the second, run by run",
}
"""Quantities of which a result has mean, standard deviation and error; and those of policies, whose
names begin with `info_`."""

MOMENTS = ("mean", "std", "sem")
# Dimensions, and variables that are no moments.
_OTHERS = (
    *("policy", "pair", "checkpoint", "arm", "run", "runs", "precise", "round", "records"),
    *("final_regret", "final_reward", "left_out", "non_finite_cell", "non_finite_run"),
)
# Of a file's 255, so that a policy's name leaves room for an option's.
_BYTES = 200


def is_taken(name: str) -> bool:
    """Whether a result has something of this name, however it is capitalised: not all file systems
    tell capital letters."""
    quantity, _, moment = name.lower().rpartition("_")
    return name.lower() in _OTHERS or (
        moment in MOMENTS and (quantity in MEANING or quantity.startswith("info_"))
    )


def fault(name: object) -> str | None:
    """Why a result cannot hold something of this name: it is a folder there, and a column."""
    if not isinstance(name, str) or not name:
        return "must be a string"
    if len(name.encode(errors="replace")) > _BYTES:
        return f"must have at most {_BYTES} bytes"
    if not name.isprintable() or set(name) & {"/", "\\"} or name != name.strip():
        return "must be printable, without slashes, and with no space at its ends"
    if name.startswith((".", "__")) or name == "zarr.json":
        return 'must not begin with "." or "__", nor be "zarr.json"'
    return None
