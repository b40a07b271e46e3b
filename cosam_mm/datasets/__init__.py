"""Data sets, the steps of their pipelines, and tools that prepare data.

``action_dataset`` and ``transforms`` build on MMAction2 and register themselves with
it; ``preparation`` and ``synthetic`` do without, so nothing is imported here.
"""
