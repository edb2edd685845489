"""Products, factors and eigenvalues of many small matrices."""
