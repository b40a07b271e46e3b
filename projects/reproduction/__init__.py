"""The tables of the papers: what to run for them, what was measured, how it reads."""
