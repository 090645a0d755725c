"""How long a verdict takes to a machine, and how exact a pulse is."""
