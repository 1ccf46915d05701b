"""The embedded example: property listings, a tiny base model, and a taste that can be computed."""
