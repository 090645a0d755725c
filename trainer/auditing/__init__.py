"""What is wrong or odd with labels, before a model learns it."""
