"""What learning from good parts alone finds on public sets, by the product's own code, and anomalib's beside it."""
