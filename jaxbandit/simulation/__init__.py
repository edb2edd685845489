"""Interaction of policies and environments: one run in `rollout`, many in `simulate`."""
