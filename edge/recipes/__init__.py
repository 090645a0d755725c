"""Recipes: product types with their views, loaded beside the running one."""
