"""Training recipes: YAML → frozen typed settings."""
