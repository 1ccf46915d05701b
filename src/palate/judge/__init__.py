"""People's verdicts: the store, what is shown next, and the page they are given on."""
