"""A report: what it is made of, and how it becomes one HTML file."""
