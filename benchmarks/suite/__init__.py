"""The benchmarks: one module each, found by its name."""
