"""Crawl: pages of the web, politely, into WARC files."""
