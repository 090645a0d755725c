"""`python -m edge`, the same as the `linewatch` command."""

from edge.cli.commands import main

if __name__ == "__main__":
    main()
