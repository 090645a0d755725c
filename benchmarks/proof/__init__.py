"""The proof that no committed event is lost: real brokers and lines, killed, cut off, and out of disk. `make proof`."""
