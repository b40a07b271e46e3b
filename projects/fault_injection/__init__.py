"""Faults injected on purpose, many times: ``python -m projects.fault_injection``."""
