"""The papers' figures and tables: one file a paper, one function a figure.

A figure takes `Settings` and a `Progress` and gives a `Figure`; it knows no files and no terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jaxbandit.engine import tiles

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure as Picture


@dataclass(frozen=True)
class Settings:
    """What a user may choose."""

    runs: int | None = None
    """Monte-Carlo runs a point; None for the figure's default."""
    seed: int = 0
    confidence: Literal["reference", "paper"] = "reference"
    """Constants of the bounds in the OtO figures; the published plots used "reference"."""
    movielens: Path | None = None
    """Directory with MovieLens data; None to download ML-1M."""
    rank: int = 10
    clusters: int = 7
    tasks: int = 100
    avazu: Path | None = None
    """Kaggle's Avazu data, for click models; or"""
    reward_table: Path | None = None
    """rewards of click models, kept from an earlier run; or"""
    synthetic: bool = False
    """a stand-in."""
    open_bandit: Path | None = None
    """Directory with the Open Bandit Dataset."""


class Reporter(NamedTuple):
    """How a figure speaks while it is computed."""

    notify: Callable[[str], None]
    """Takes a line of text."""
    progress: Callable[[str], tiles.Progress]
    """Takes what is being computed, gives the callback for one simulation."""


class FigureResult(NamedTuple):
    """A reproduced figure."""

    table: polars.DataFrame
    """Tidy, one observation a row."""
    picture: Picture
    findings: list[str]
    """Which of the paper's statements the numbers confirm, a sentence each."""
    facts: dict[str, Any]
    """Numbers that explain the table, for the record kept beside it."""
    markdown: str | None = None
    """The table as a document, where it is to be read."""
    files: Mapping[str, str] = MappingProxyType({})
    """Further text files to lie beside, by name."""


class Entry(NamedTuple):
    """A figure in the registry."""

    module: str
    function: str
    options: tuple[str, ...] = ()
    """Fields of `Settings` that it follows, beside the seed."""
    needs_data: bool = False
    """Then the module has `check`, which takes `Settings` and refuses those without the data."""

    def check(self, settings: Settings) -> None:
        """Refuse settings that do not say where the data is, before anything is computed.

        Raises:
            InputError: they do not.
        """
        if self.needs_data:
            import_module(f"{__name__}.{self.module}").check(settings)

    def compute(self, settings: Settings, reporter: Reporter) -> FigureResult:
        """The figure; what it needs is imported only now."""
        module = import_module(f"{__name__}.{self.module}")
        return getattr(module, self.function)(settings, reporter)


_RATINGS = ("runs", "movielens", "rank")
_CLICKS = ("avazu", "reward_table", "synthetic")
_ROUNDS = ("runs", "confidence")
REGISTRY = {
    "hieropo-fig2": Entry("hieropo", "figure2", ("runs",)),
    "hieropo-fig3": Entry(
        "hieropo_movielens", "figure3", (*_RATINGS, "clusters", "tasks"), needs_data=True
    ),
    "fit-consistency": Entry("fit_consistency", "figure", ("runs",)),
    "movielens-ratings": Entry("movielens_ratings", "held_out_ratings", _RATINGS, needs_data=True),
    "oto-fig1": Entry("oto_bounds", "figure1"),
    "oto-fig2": Entry("oto_bounds", "figure2"),
    "oto-tables": Entry("oto_tables", "tables"),
    "oto-fig3": Entry("oto", "figure3", _ROUNDS),
    "oto-fig4": Entry("oto", "figure4", _ROUNDS),
    "oto-fig5": Entry("ctr", "figure5", _ROUNDS + _CLICKS, needs_data=True),
    "oto-fig6": Entry("ctr", "figure6", _ROUNDS + _CLICKS, needs_data=True),
    "oto-fig7": Entry("oto", "figure7", _ROUNDS),
    "oto-fig8": Entry("oto", "figure8", _ROUNDS),
    "oto-fig9": Entry("ctr", "figure9", _ROUNDS + _CLICKS, needs_data=True),
    "oto-fig10": Entry("ctr", "figure10", _ROUNDS + _CLICKS, needs_data=True),
    "oto-table3": Entry("ctr_table", "table3", _CLICKS, needs_data=True),
    "open-bandit": Entry("open_bandit", "figure", ("runs", "open_bandit"), needs_data=True),
}
"""Every figure by its command-line name, in the papers' order."""
