"""The pieces of HTML pages."""
