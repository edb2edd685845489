r"""Structures of a task covariance, and their unconstrained parameters.

$\Sigma_0 = D + L L'$ with a small diagonal floor D and L linear in the parameters: a lower triangle
(full), a diagonal, or a multiple of the identity (isotropic). The noise likewise: $\sigma^2 = f^2 +
s^2$. A maximum in which a variance vanishes lies at L = 0, a finite distance away, and nothing
falls below the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

Structure = Literal["full", "diagonal", "isotropic"]
STRUCTURES: tuple[Structure, ...] = get_args(Structure)


class Scales(NamedTuple):
    """Sizes that parameters have in a log."""

    features: np.ndarray
    """[features], the parameter with which one feature alone would explain the residuals."""
    noise: float
    """Standard deviation of the residuals of a regression that knows no tasks."""


@dataclass(frozen=True)
class CovarianceStructure:
    """How parameters [free] make task_cov and noise_std: those of L, then s unless known."""

    basis: np.ndarray
    """[free of L, features, features]: L is their combination."""
    free_cov: np.ndarray
    """[free of task_cov, features, features]: the directions in which task_cov may move."""
    units: np.ndarray
    """[features], one for all where isotropic."""
    noise_unit: float
    floor: float
    known_noise: float | None

    @classmethod
    def of(
        cls, structure: Structure, scales: Scales, floor: float, known_noise: float | None
    ) -> CovarianceStructure:
        """The structure, in a log's scales.

        Args:
            structure: its name.
            scales: of the log.
            floor: least standard deviations, in these scales.
            known_noise: noise_std, where it is not fitted.
        """
        units = scales.features
        d = len(units)
        if structure == "isotropic":
            units = np.full(d, np.sqrt(np.mean(units**2)))
            unit, basis = np.eye(d), np.diag(units)[None]
            free = unit[None]
        elif structure == "diagonal":
            unit = np.eye(d)
            free = unit[:, :, None] * unit[:, None, :]
            basis = free * units[:, None, None]
        else:
            unit = np.eye(d)
            row, column = np.tril_indices(d)
            one = unit[row][:, :, None] * unit[column][:, None, :]
            basis = one * units[row][:, None, None]
            free = np.maximum(one, np.swapaxes(one, 1, 2))
        return cls(basis, free, units, scales.noise, floor, known_noise)

    @property
    def noise_is_free(self) -> bool:
        """Whether the last parameter is the noise's."""
        return self.known_noise is None

    def start(self) -> np.ndarray:
        """Half of the residual variance within tasks, half between."""
        d = len(self.units)
        return self.parameter(np.diag(self.units**2) / (2 * d), self.noise_unit / np.sqrt(2))

    def scatter(self, parameter: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random start: standard deviations up to some ten times larger or smaller."""
        return parameter * np.exp(rng.normal(0, 1, len(parameter)))

    def root(self, parameter: np.ndarray) -> np.ndarray:
        """L."""
        return np.tensordot(parameter[: len(self.basis)], self.basis, 1)

    def covariances(self, parameter: np.ndarray) -> tuple[np.ndarray, float]:
        """task_cov and noise_std."""
        root = self.root(parameter)
        task_cov = np.diag((self.floor * self.units) ** 2) + root @ root.T
        if self.known_noise is not None:
            return task_cov, self.known_noise
        return task_cov, float(np.hypot(self.floor * self.noise_unit, parameter[-1]))

    def parameter(self, task_cov: np.ndarray, noise_std: float) -> np.ndarray:
        """Parameters of the nearest covariance of this structure that is above the floor."""
        scaled = task_cov / np.outer(self.units, self.units)
        if len(self.basis) == 1:
            variance = np.array([np.trace(scaled) / len(scaled)])
        elif len(self.basis) == len(scaled):
            variance = np.diagonal(scaled)
        else:
            values, vectors = np.linalg.eigh(scaled - self.floor**2 * np.eye(len(scaled)))
            above = np.maximum(values, (0.1 * self.floor) ** 2)
            root = np.linalg.cholesky((vectors * above) @ vectors.T)
            return self._with_noise(root[np.tril_indices(len(root))], noise_std)
        least = (0.1 * self.floor) ** 2
        return self._with_noise(np.sqrt(np.maximum(variance - self.floor**2, least)), noise_std)

    def derivatives(self, parameter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[free, features, features] of task_cov and [free] of log noise_std^2."""
        half = self.basis @ self.root(parameter).T
        task_cov = half + np.swapaxes(half, 1, 2)
        if not self.noise_is_free:
            return task_cov, np.zeros(len(task_cov))
        task_cov = np.concatenate([task_cov, np.zeros_like(task_cov[:1])])
        log_noise = np.zeros(len(task_cov))
        log_noise[-1] = 2 * parameter[-1] / self.covariances(parameter)[1] ** 2
        return task_cov, log_noise

    def curvature(
        self, parameter: np.ndarray, cov_gradient: np.ndarray, log_noise_gradient: float
    ) -> np.ndarray:
        """[free, free], second derivatives of `<cov_gradient, task_cov>` and of log noise_std^2."""
        free = len(parameter)
        result = np.zeros((free, free))
        k = len(self.basis)
        flat = self.basis.reshape(k, -1)
        result[:k, :k] = 2 * flat @ (cov_gradient @ self.basis).reshape(k, -1).T
        if self.noise_is_free:
            variance = self.covariances(parameter)[1] ** 2
            second = 2 / variance - 4 * parameter[-1] ** 2 / variance**2
            result[-1, -1] = log_noise_gradient * second
        return result

    def on_floor(self, parameter: np.ndarray) -> tuple[str, ...]:
        """Names of what lies on its floor, in some direction."""
        task_cov, noise_std = self.covariances(parameter)
        scaled = np.linalg.eigvalsh(task_cov / np.outer(self.units, self.units))
        names = ["task_cov"] if scaled[0] < 1.5 * self.floor**2 else []
        if self.noise_is_free and noise_std < 1.2 * self.floor * self.noise_unit:
            names.append("noise_std")
        return tuple(names)

    def _with_noise(self, of_root: np.ndarray, noise_std: float) -> np.ndarray:
        if not self.noise_is_free:
            return of_root
        least = self.floor * self.noise_unit
        rest = np.sqrt(max(noise_std**2 - least**2, (0.1 * least) ** 2))
        return np.append(of_root, rest)
