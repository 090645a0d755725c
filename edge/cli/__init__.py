"""The `linewatch` command: each verb is a file."""
