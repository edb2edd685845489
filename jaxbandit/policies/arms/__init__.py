"""Policies of K arms, one file each."""
