"""The embedded default: a small web, a link dump and evaluation corpora from pinned packages."""
