"""Off-policy learning of many similar tasks from logged data."""
