"""What a training recipe may say: YAML → frozen typed settings."""
