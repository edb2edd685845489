"""One HierOPO run as a careful NumPy user would write it: float32, vectorised over tasks."""

from __future__ import annotations

import numpy as np


def run(
    rng: np.random.Generator,
    *,
    records: int = 500,
    tasks: int = 10,
    features: int = 4,
    actions: int = 5,
    contexts: int = 1000,
    hyper_std: float = 1.0,
    task_std: float = 0.5,
    noise_std: float = 0.5,
    alpha: float = 0.1,
) -> float:
    """Draw an instance and a log, compute HierOPO's posteriors, return its mean suboptimality."""
    d, f32 = features, np.float32
    hyper = hyper_std * rng.standard_normal(d, f32)
    theta = hyper + task_std * rng.standard_normal((tasks, d), f32)
    task = rng.integers(0, tasks, records)
    phi = rng.random((records, d), f32) - f32(0.5)
    reward = np.einsum("ni,ni->n", phi, theta[task])
    reward += noise_std * rng.standard_normal(records, f32)

    # Sums per task through a one-hot product: faster here than np.add.at or a loop over tasks.
    member = (task[:, None] == np.arange(tasks)).astype(f32)
    outer = (phi[:, :, None] * phi[:, None, :]).reshape(records, d * d)
    gram = (member.T @ outer).reshape(tasks, d, d) / f32(noise_std**2)
    moment = member.T @ (phi * reward[:, None]) / f32(noise_std**2)

    identity = np.eye(d, dtype=f32)
    prior = identity / f32(task_std**2)
    given = np.linalg.inv(prior + gram)
    weight = gram @ given @ prior
    hyper_cov = np.linalg.inv(identity / f32(hyper_std**2) + weight.sum(0))
    hyper_mean = hyper_cov @ np.einsum("ij,sjk,sk->i", prior, given, moment)
    mean = np.einsum("sij,sj->si", given, prior @ hyper_mean + moment)
    through = given @ prior
    cov = given + through @ hyper_cov @ through.transpose(0, 2, 1)

    context = rng.random((contexts * actions, d), f32) - f32(0.5)
    value = context @ theta.T
    products = (context[:, :, None] * context[:, None, :]).reshape(-1, d * d)
    variance = products @ cov.reshape(tasks, d * d).T
    bound = context @ mean.T - f32(alpha) * np.sqrt(np.maximum(variance, 0))
    value = value.reshape(contexts, actions, tasks)
    taken = bound.reshape(contexts, actions, tasks).argmax(1)
    chosen = np.take_along_axis(value, taken[:, None], 1)[:, 0]
    return float((value.max(1) - chosen).mean())
