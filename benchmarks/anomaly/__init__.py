"""Learning from good parts alone on public sets, by the product's own code, and anomalib's beside it."""
