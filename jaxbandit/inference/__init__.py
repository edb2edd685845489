"""What data says: sums over a log, posteriors, evidence, scores of predictions."""
