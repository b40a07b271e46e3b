"""Faults injected on purpose, many times over: ``python -m projects.fault_injection``.

Each loop breaks something for real, in processes and files of its own, and checks that
nothing is lost. Small counts run in the tests; README.md tells what each loop does.
"""
