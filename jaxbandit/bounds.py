"""Bounds of both papers, one function a theorem.

Off-policy (Hong et al. 2023): suboptimality, from `jaxbandit.offpolicy.bounds`, with the widths of
intervals and the coverage of a log that they need. Online (Sentenac et al. 2025): upper bounds on
regret, from `jaxbandit.online.bounds`, and lower ones, from `jaxbandit.online.lower_bounds`; their
instances are in `jaxbandit.hard_instances`.
"""

from jaxbandit.offpolicy.bounds import (
    SuboptimalityBound,
    flatopo_bound,
    hieropo_bound,
    hieropo_one_root_bound,
    hieropo_sparse_bound,
    hieropo_sparse_one_root_bound,
    single_task_bound,
)
from jaxbandit.offpolicy.coverage import (
    optimal_action,
    optimal_gram,
    pairwise_gamma,
    scale_features,
    smallest_gamma,
    task_gamma,
)
from jaxbandit.offpolicy.intervals import (
    data_dependent_bound,
    exact_alpha,
    interval_probability,
    paper_alpha,
    trace_bound,
)
from jaxbandit.online.bounds import (
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
from jaxbandit.online.lower_bounds import (
    lcb_logging_regret_lower,
    lcb_minimax_regret_lower,
    minimax_regret_lower,
    ucb_first_round_logging_regret_lower,
    ucb_logging_regret_lower,
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
