"""Compiled programs: tiles of runs, threads, devices, random numbers, and code shaped for XLA."""
