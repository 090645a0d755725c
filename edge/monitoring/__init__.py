"""A station's health for machines and people: judged by one table of rules, served over HTTP."""
