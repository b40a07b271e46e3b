"""How a run starts, stops and shares its work among processes."""
