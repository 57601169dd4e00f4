"""The studies: which runs the paper's experiments need."""
