"""`python -m edge`, the same as the `linewatch` command."""

from edge.starting import linewatch

if __name__ == "__main__":
    linewatch()
