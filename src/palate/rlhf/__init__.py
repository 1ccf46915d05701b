"""The older way, for comparison: a reward model, and reinforcement by what it says."""
