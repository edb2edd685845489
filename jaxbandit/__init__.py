"""jaxbandit: a JAX-accelerated simulator and inference backend for bandits that start from data."""

import jax.export

from jaxbandit import bounds
from jaxbandit.checks import InputError
from jaxbandit.hierarchical.policy import (
    HierarchicalPolicy,
    flat_prior,
    hierarchical_prior,
    hierarchical_thompson,
    hierarchical_ucb,
)
from jaxbandit.hierarchical.simulate import HierarchicalResult, simulate_hierarchical
from jaxbandit.moments import Moments
from jaxbandit.offpolicy.design import (
    Instance,
    OffPolicyDesign,
    draw_from_model,
    draw_log,
    draw_uniform_features,
    synthetic_design,
)
from jaxbandit.offpolicy.empirical_bayes import (
    FitReport,
    FittedHierarchy,
    StandardErrors,
    fit_hierarchy,
)
from jaxbandit.offpolicy.evaluation import (
    HeldOutScore,
    PolicyValue,
    Prediction,
    doubly_robust_value,
    ips_value,
    predict,
    score_held_out,
    snips_value,
)
from jaxbandit.offpolicy.hierarchy_mixture import HierarchyMixture, fit_hierarchy_mixture
from jaxbandit.offpolicy.marginal_likelihood import log_marginal_likelihood
from jaxbandit.offpolicy.model import BanditLog, Gaussian, HierarchicalGaussian, TaskStatistics
from jaxbandit.offpolicy.policy import (
    flatopo,
    hieropo,
    lower_confidence_bound,
    oracleopo,
    pessimistic_action,
    suboptimality,
)
from jaxbandit.offpolicy.posterior import (
    flat_posteriors,
    hyper_information,
    hyper_posterior,
    hyper_posterior_from,
    new_task_posterior,
    oracle_posteriors,
    scan_hyper_information,
    task_posteriors,
)
from jaxbandit.offpolicy.simulate import OffPolicyResult, simulate_offpolicy
from jaxbandit.offpolicy.statistics import (
    add_record,
    empty_statistics,
    scan_statistics,
    task_statistics,
)
from jaxbandit.offpolicy.task_coordinates import HyperInformation
from jaxbandit.offpolicy.task_models import (
    TaskModel,
    TaskRecords,
    bernoulli_laplace,
    linear_gaussian,
)
from jaxbandit.offpolicy.two_level import (
    effective_sample_size,
    marginal_posteriors,
    particle_log_weights,
)
from jaxbandit.online import hard_instances
from jaxbandit.online.arms import Confidence, OfflineArms, confidence
from jaxbandit.online.environments import (
    Environment,
    bernoulli_arms,
    gaussian_arms,
    reward_table,
)
from jaxbandit.online.grid import Grid, grid
from jaxbandit.online.hard_instances import HardInstance
from jaxbandit.online.indexing import add_at, put, take
from jaxbandit.online.policies.base import Policy, Problem, Round
from jaxbandit.online.policies.conservative_ucb import conservative_ucb
from jaxbandit.online.policies.epsilon_greedy import epsilon_greedy
from jaxbandit.online.policies.explore_then_commit import explore_then_commit
from jaxbandit.online.policies.fixed_arm import fixed_arm
from jaxbandit.online.policies.lcb import lcb
from jaxbandit.online.policies.min_ucb import min_ucb
from jaxbandit.online.policies.moss import moss
from jaxbandit.online.policies.oto import oto
from jaxbandit.online.policies.thompson import thompson_bernoulli, thompson_gaussian
from jaxbandit.online.policies.ucb import ucb
from jaxbandit.online.reductions import first_argmax
from jaxbandit.online.results import PolicyResult, SimulationResult
from jaxbandit.online.rollout import Trajectory, rollout
from jaxbandit.online.simulate import simulate

__version__ = "0.1.0.dev0"

__all__ = [
    "BanditLog",
    "Confidence",
    "Environment",
    "FitReport",
    "FittedHierarchy",
    "Gaussian",
    "Grid",
    "HardInstance",
    "HeldOutScore",
    "HierarchicalGaussian",
    "HierarchicalPolicy",
    "HierarchicalResult",
    "HierarchyMixture",
    "HyperInformation",
    "InputError",
    "Instance",
    "Moments",
    "OffPolicyDesign",
    "OffPolicyResult",
    "OfflineArms",
    "Policy",
    "PolicyResult",
    "PolicyValue",
    "Prediction",
    "Problem",
    "Round",
    "SimulationResult",
    "StandardErrors",
    "TaskModel",
    "TaskRecords",
    "TaskStatistics",
    "Trajectory",
    "add_at",
    "add_record",
    "bernoulli_arms",
    "bernoulli_laplace",
    "bounds",
    "confidence",
    "conservative_ucb",
    "doubly_robust_value",
    "draw_from_model",
    "draw_log",
    "draw_uniform_features",
    "effective_sample_size",
    "empty_statistics",
    "epsilon_greedy",
    "explore_then_commit",
    "first_argmax",
    "fit_hierarchy",
    "fit_hierarchy_mixture",
    "fixed_arm",
    "flat_posteriors",
    "flat_prior",
    "flatopo",
    "gaussian_arms",
    "grid",
    "hard_instances",
    "hierarchical_prior",
    "hierarchical_thompson",
    "hierarchical_ucb",
    "hieropo",
    "hyper_information",
    "hyper_posterior",
    "hyper_posterior_from",
    "ips_value",
    "lcb",
    "linear_gaussian",
    "log_marginal_likelihood",
    "lower_confidence_bound",
    "marginal_posteriors",
    "min_ucb",
    "moss",
    "new_task_posterior",
    "oracle_posteriors",
    "oracleopo",
    "oto",
    "particle_log_weights",
    "pessimistic_action",
    "predict",
    "put",
    "reward_table",
    "rollout",
    "scan_hyper_information",
    "scan_statistics",
    "score_held_out",
    "simulate",
    "simulate_hierarchical",
    "simulate_offpolicy",
    "snips_value",
    "suboptimality",
    "synthetic_design",
    "take",
    "task_posteriors",
    "task_statistics",
    "thompson_bernoulli",
    "thompson_gaussian",
    "ucb",
]

# `jax.export` can serialise programs that take or give any of them.
for _name in __all__:
    _kind = globals()[_name]
    if isinstance(_kind, type) and issubclass(_kind, tuple):
        jax.export.register_namedtuple_serialization(_kind, serialized_name=f"jaxbandit.{_name}")
