"""What acts: `base` has the interface, `arms` the policies of K arms, `offline` those of a log."""
