"""Measurements behind what the documentation claims: speed, networks, and what the recipes come to."""
