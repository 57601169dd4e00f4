"""Language models, and the count of their parameters and operations."""
