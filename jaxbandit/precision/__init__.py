"""The floating type that is computed in, what its digits can tell apart, and settings of JAX."""
