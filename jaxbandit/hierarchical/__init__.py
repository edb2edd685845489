"""Online learning of many tasks in the hierarchical model, from logs: one file a step."""
