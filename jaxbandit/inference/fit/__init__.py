"""Hyper-parameters of a hierarchy, learnt from its log."""
