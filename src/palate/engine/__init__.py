"""How a log-prob is computed: one way."""
