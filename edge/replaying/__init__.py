"""One recording that two stations judge in one pass, and what the second one sees otherwise."""
