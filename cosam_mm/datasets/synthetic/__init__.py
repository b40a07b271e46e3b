"""Generated data for demo and tests: moving shapes and walking persons."""
