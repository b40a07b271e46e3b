"""Studies that stand on the package and are not part of it."""
