"""Links: which pages Reddit submissions lead to."""
