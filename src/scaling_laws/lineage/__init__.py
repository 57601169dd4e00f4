"""What made each file: a manifest a job, and what can be told from all of them together."""
