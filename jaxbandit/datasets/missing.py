"""What counts as a missing value in logs, unless the user says otherwise."""

MISSING = ("NA", "N/A", "#N/A", "<NA>", "NaN", "NULL", "None")
"""Texts, in capitals or not; besides, always, what is empty, null or not a number."""
