"""How it is learnt: one step, one loop, for every offline objective."""
