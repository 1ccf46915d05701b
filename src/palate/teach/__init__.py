"""The loop as one command: sample, judge, prefer, sample from what was learnt, judge again."""
