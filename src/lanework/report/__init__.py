"""The report of a study: facts, figures, page and results.json. Must not import JAX."""
