"""What is unknown: arms, and linear tasks."""
