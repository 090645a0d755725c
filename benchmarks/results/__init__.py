"""What the recipes of config/ come to on real pictures that were held out: `make results DATA=DIR`."""
