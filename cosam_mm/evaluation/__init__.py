"""Metrics and the files they write.

``action`` builds on MMAction2 and registers itself with it; ``reid`` does without,
so nothing is imported here.
"""
