"""What pages have in common, whoever makes them."""
