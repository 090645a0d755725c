"""Records → topics and payloads."""
