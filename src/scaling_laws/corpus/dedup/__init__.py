"""Deduplication, the test split, and what documents share."""
