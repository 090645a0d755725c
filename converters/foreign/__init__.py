"""Models that other people trained: what they expect and give, and how they become a graph of the contract."""
