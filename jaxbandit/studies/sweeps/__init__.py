"""Studies over many cells: their file, their store, the work, and the result."""
