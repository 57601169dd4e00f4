"""The corpus: links, crawl, extraction, deduplication, split, and the other corpora."""
