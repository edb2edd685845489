"""Numba: hierarchical, flat and oracle Thompson sampling and UCB on many tasks, one loop per run.

As a careful user would write it: float32, loops over a number of features that is known when it is
compiled, rank-one updates, no hyper-posterior where it is known, arrays made once, xoshiro128++.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange

from benchmarks.peers.numba_bandits import _next, _seed

POLICIES = "HierTS", "FlatTS", "OracleTS", "HierUCB", "FlatUCB", "OracleUCB"
F = np.float32


@njit(inline="always")
def _uniform(state):
    word, a, b, c, d = _next(state[0], state[1], state[2], state[3])
    state[0], state[1], state[2], state[3] = a, b, c, d
    return F(word >> np.uint32(8)) * F(2**-24)


@njit(inline="always")
def _normals(state, out, count):
    for i in range(0, count, 2):  # Box and Muller
        radius = np.sqrt(F(-2) * np.log(F(1) - _uniform(state)))
        angle = F(2 * np.pi) * _uniform(state)
        out[i] = radius * np.cos(angle)
        if i + 1 < count:
            out[i + 1] = radius * np.sin(angle)


@cache
def simulator(D: int) -> Callable[..., Any]:
    """(seed, runs, rounds, tasks, actions, hyper_std, task_std, noise_std, width) -> regret of each
    policy, [runs, policies], for D features; on all threads that numba has."""

    @njit(fastmath=True)
    def play(seed, rounds, m, A, hyper_std, task_std, noise_std, width, regret):
        state = np.empty(4, np.uint32)
        x0, state[0], state[1] = _seed(np.uint64(seed))
        x0, state[2], state[3] = _seed(x0)
        theta, mu = np.empty((m, D), F), np.empty(D, F)
        _normals(state, mu, D)
        for i in range(D):
            mu[i] *= hyper_std
        for s in range(m):
            _normals(state, theta[s], D)
            for i in range(D):
                theta[s, i] = mu[i] + task_std * theta[s, i]
        offset, cov = np.zeros((6, m, D), F), np.zeros((6, m, D, D), F)
        hyper_mean, hyper_cov = np.zeros((6, D), F), np.zeros((6, D, D), F)
        precision = np.empty(6, F)
        for p in range(6):
            variance = task_std**2 + (hyper_std**2 if p % 3 == 1 else F(0))
            precision[p] = 1 / variance
            for i in range(D):
                for s in range(m):
                    cov[p, s, i, i] = variance
                if p % 3 == 0:
                    hyper_cov[p, i, i] = hyper_std**2
                if p % 3 == 2:
                    hyper_mean[p, i] = mu[i]
        x, z, mean = np.empty((A, D), F), np.empty(D + 1, F), np.empty(D, F)
        C, share, L = np.empty((D, D), F), np.empty((D, D), F), np.zeros((D, D), F)
        spread, slope, gain = np.empty(D, F), np.empty(D, F), np.empty(D, F)
        for _ in range(rounds):
            s = int(_uniform(state) * F(m))
            for a in range(A):
                for i in range(D):
                    x[a, i] = _uniform(state) - F(0.5)
            _normals(state, z, D + 1)
            best = F(-1e9)
            for a in range(A):
                v = F(0)
                for i in range(D):
                    v += x[a, i] * theta[s, i]
                best = max(best, v)
            for p in range(6):
                c, o, q, H, h = cov[p, s], offset[p, s], precision[p], hyper_cov[p], hyper_mean[p]
                for i in range(D):
                    mean[i] = o[i]
                    for j in range(D):
                        mean[i] += q * c[i, j] * h[j]
                        C[i, j] = c[i, j]
                if p % 3 == 0:
                    for i in range(D):
                        for j in range(D):
                            v = F(0)
                            for k in range(D):
                                v += c[i, k] * H[k, j]
                            share[i, j] = v * q
                    for i in range(D):
                        for j in range(i + 1):
                            v = F(0)
                            for k in range(D):
                                v += share[i, k] * c[j, k]
                            C[i, j] += v * q
                            C[j, i] = C[i, j]
                if p < 3:
                    for i in range(D):
                        for j in range(i + 1):
                            v = C[i, j]
                            for k in range(j):
                                v -= L[i, k] * L[j, k]
                            L[i, j] = np.sqrt(max(v, F(0))) if i == j else v / L[j, j]
                    for i in range(D):
                        for k in range(i + 1):
                            mean[i] += L[i, k] * z[k]
                action, top = 0, F(-1e30)
                for a in range(A):
                    v = F(0)
                    for i in range(D):
                        v += x[a, i] * mean[i]
                    if p >= 3:
                        w = F(0)
                        for i in range(D):
                            for j in range(D):
                                w += x[a, i] * C[i, j] * x[a, j]
                        v += width * np.sqrt(max(w, F(0)))
                    if v > top:
                        top, action = v, a
                phi, value = x[action], F(0)
                for i in range(D):
                    value += phi[i] * theta[s, i]
                regret[p] += best - value
                variance, left = noise_std**2, value + noise_std * z[D]
                for i in range(D):
                    v = F(0)
                    for j in range(D):
                        v += c[i, j] * phi[j]
                    spread[i] = v
                    variance += phi[i] * v
                    left -= phi[i] * o[i]
                if p % 3 == 0:
                    total, missed = variance, left
                    for i in range(D):
                        slope[i] = q * spread[i]
                    for i in range(D):
                        v = F(0)
                        for j in range(D):
                            v += H[i, j] * slope[j]
                        gain[i] = v
                        total += slope[i] * v
                        missed -= slope[i] * h[i]
                    for i in range(D):
                        h[i] += gain[i] * missed / total
                        for j in range(D):
                            H[i, j] -= gain[i] * gain[j] / total
                for i in range(D):
                    o[i] += spread[i] * left / variance
                    for j in range(D):
                        c[i, j] -= spread[i] * spread[j] / variance

    @njit(parallel=True)
    def simulate(seed, runs, rounds, m, A, hyper_std, task_std, noise_std, width):
        regret = np.zeros((runs, 6), F)
        for run in prange(runs):
            play(
                seed * 1_000_003 + run,
                rounds,
                m,
                A,
                F(hyper_std),
                F(task_std),
                F(noise_std),
                F(width),
                regret[run],
            )
        return regret

    return simulate
