"""Pure functions of tensors and arrays: no registry, no files, no state."""
