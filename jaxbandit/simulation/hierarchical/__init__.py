"""Online learning of many tasks in the hierarchical model, from logs."""
