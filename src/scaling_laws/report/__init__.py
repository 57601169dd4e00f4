"""What came out, for a reader: the report page, the comparison with the paper, the summary."""
