"""Experiments: simulations turned into tables and pictures."""
