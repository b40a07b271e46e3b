"""The loops: each module has a first line that says what it does, and ``run``."""
