"""One running station: the loop, what starts it, what it says of itself, and its watchdog."""
