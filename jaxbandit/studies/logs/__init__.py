"""From a log of one's own to a model, its predictions and advice."""
