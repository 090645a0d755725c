"""What is typed: the `linewatch` command and its verbs."""
