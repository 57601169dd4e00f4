"""Scaling laws for neural language models, from web pages to fitted constants and figures."""
