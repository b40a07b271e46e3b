"""What COSAM attends to and what it costs, beside other attention."""
