"""Real guests on a host that really swaps, and the experiments run on them."""
