"""Every speed and memory metric of this project comes from a command here.

``python -m benchmarks`` lists them. A benchmark is a module of
:mod:`benchmarks.suite`: its docstring's first line says what it measures, ``PARTS``
names what can be run by itself, and ``run(options)`` yields
:class:`~benchmarks.metrics.Metric` objects. Nothing else needs to know of it.
"""
