"""Dataset folders: read, cached, split, cut, compared."""
