"""Tokens: the byte-pair encoding, token files, and the order in which training reads them."""
