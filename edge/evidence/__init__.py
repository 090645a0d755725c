"""Evidence: the pictures of parts that were rejected, and of some that were not, kept on the device."""
