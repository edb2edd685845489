"""jaxbandit: a JAX-accelerated simulator and inference backend for bandits that start from data."""

import jax.export

from jaxbandit import bounds
from jaxbandit.bounds import hard_instances
from jaxbandit.bounds.hard_instances import HardInstance
from jaxbandit.checks import InputError
from jaxbandit.engine.entries import add_at, put, take
from jaxbandit.engine.moments import Moments
from jaxbandit.engine.reductions import first_argmax
from jaxbandit.environments.arms import bernoulli_arms, gaussian_arms, reward_table
from jaxbandit.environments.base import Environment
from jaxbandit.environments.linear_tasks import (
    Instance,
    OffPolicyDesign,
    draw_from_model,
    draw_log,
    draw_uniform_features,
    synthetic_design,
)
from jaxbandit.inference.arms import Confidence, OfflineArms, confidence
from jaxbandit.inference.evaluation import (
    HeldOutScore,
    PolicyValue,
    Prediction,
    doubly_robust_value,
    ips_value,
    predict,
    score_held_out,
    snips_value,
)
from jaxbandit.inference.fit.empirical_bayes import (
    FitReport,
    FittedHierarchy,
    StandardErrors,
    fit_hierarchy,
)
from jaxbandit.inference.fit.mixture import HierarchyMixture, fit_hierarchy_mixture
from jaxbandit.inference.marginal_likelihood import log_marginal_likelihood
from jaxbandit.inference.model import BanditLog, Gaussian, HierarchicalGaussian, TaskStatistics
from jaxbandit.inference.posterior import (
    flat_posteriors,
    hyper_information,
    hyper_posterior,
    hyper_posterior_from,
    new_task_posterior,
    oracle_posteriors,
    scan_hyper_information,
    task_posteriors,
)
from jaxbandit.inference.statistics import (
    add_record,
    empty_statistics,
    scan_statistics,
    task_statistics,
)
from jaxbandit.inference.task_models import (
    TaskModel,
    TaskRecords,
    bernoulli_laplace,
    linear_gaussian,
)
from jaxbandit.inference.two_level import (
    effective_sample_size,
    marginal_posteriors,
    particle_log_weights,
)
from jaxbandit.inference.whitened import HyperInformation
from jaxbandit.policies.arms.conservative_ucb import conservative_ucb
from jaxbandit.policies.arms.epsilon_greedy import epsilon_greedy
from jaxbandit.policies.arms.explore_then_commit import explore_then_commit
from jaxbandit.policies.arms.fixed_arm import fixed_arm
from jaxbandit.policies.arms.lcb import lcb
from jaxbandit.policies.arms.min_ucb import min_ucb
from jaxbandit.policies.arms.moss import moss
from jaxbandit.policies.arms.oto import oto
from jaxbandit.policies.arms.thompson import thompson_bernoulli, thompson_gaussian
from jaxbandit.policies.arms.ucb import ucb
from jaxbandit.policies.base import Policy, Problem, Round
from jaxbandit.policies.offline import (
    flatopo,
    hieropo,
    lower_confidence_bound,
    oracleopo,
    pessimistic_action,
    suboptimality,
)
from jaxbandit.simulation.grid import Grid, grid
from jaxbandit.simulation.hierarchical.policy import (
    HierarchicalPolicy,
    flat_prior,
    hierarchical_prior,
    hierarchical_thompson,
    hierarchical_ucb,
)
from jaxbandit.simulation.hierarchical.simulate import HierarchicalResult, simulate_hierarchical
from jaxbandit.simulation.learning_curves import OffPolicyResult, simulate_offpolicy
from jaxbandit.simulation.results import PolicyResult, SimulationResult
from jaxbandit.simulation.rollout import Trajectory, rollout
from jaxbandit.simulation.simulate import simulate

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


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


# `jax.export` can serialise programs that take or give any of them.
for _name in __all__:
    _kind = globals()[_name]
    if isinstance(_kind, type) and issubclass(_kind, tuple):
        jax.export.register_namedtuple_serialization(_kind, serialized_name=f"jaxbandit.{_name}")
