"""A station as its messages tell of it, for whoever watches from elsewhere."""
