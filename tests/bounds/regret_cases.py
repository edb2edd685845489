"""What tests of the bounds share: an oracle's constants as the package's."""

import jaxbandit as jb


def package(known):
    """The confidence constants of `bounds_oracle.Known`."""
    return jb.confidence(
        sigma=known.sigma, delta=known.delta, anytime=known.anytime, ceiling=known.limit
    )
