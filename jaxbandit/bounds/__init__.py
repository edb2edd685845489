"""Bounds of both papers, one function a theorem.

Off-policy (Hong et al. 2023): `suboptimality`, with the widths of `intervals` and the `coverage` of
a log that they need. Online (Sentenac et al. 2025): upper bounds on `regret`, and lower ones in
`regret_lower`, whose instances are in `hard_instances`; `arguments` is what both ask of theirs, and
`worst_pulls` the division of rounds among arms that is worst.
"""

from jaxbandit.bounds.coverage import (
    optimal_action,
    optimal_gram,
    pairwise_gamma,
    scale_features,
    smallest_gamma,
    task_gamma,
)
from jaxbandit.bounds.intervals import (
    data_dependent_bound,
    exact_alpha,
    interval_probability,
    paper_alpha,
    trace_bound,
)
from jaxbandit.bounds.regret import (
    event_probability,
    lcb_logging_regret,
    lcb_minimax_regret,
    oto_logging_regret,
    oto_minimax_regret,
    oto_regret,
    ucb_logging_regret,
    ucb_minimax_regret,
    ucb_regret,
)
from jaxbandit.bounds.regret_lower import (
    lcb_logging_regret_lower,
    lcb_minimax_regret_lower,
    minimax_regret_lower,
    ucb_first_round_logging_regret_lower,
    ucb_logging_regret_lower,
)
from jaxbandit.bounds.suboptimality import (
    SuboptimalityBound,
    flatopo_bound,
    hieropo_bound,
    hieropo_one_root_bound,
    hieropo_sparse_bound,
    hieropo_sparse_one_root_bound,
    single_task_bound,
)

__all__ = [
    "SuboptimalityBound",
    "data_dependent_bound",
    "event_probability",
    "exact_alpha",
    "flatopo_bound",
    "hieropo_bound",
    "hieropo_one_root_bound",
    "hieropo_sparse_bound",
    "hieropo_sparse_one_root_bound",
    "interval_probability",
    "lcb_logging_regret",
    "lcb_logging_regret_lower",
    "lcb_minimax_regret",
    "lcb_minimax_regret_lower",
    "minimax_regret_lower",
    "optimal_action",
    "optimal_gram",
    "oto_logging_regret",
    "oto_minimax_regret",
    "oto_regret",
    "pairwise_gamma",
    "paper_alpha",
    "scale_features",
    "single_task_bound",
    "smallest_gamma",
    "task_gamma",
    "trace_bound",
    "ucb_first_round_logging_regret_lower",
    "ucb_logging_regret",
    "ucb_logging_regret_lower",
    "ucb_minimax_regret",
    "ucb_regret",
]
