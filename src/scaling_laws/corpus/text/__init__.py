"""Text: documents from pages, and from other corpora."""
