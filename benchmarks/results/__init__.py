"""The results of the recipes of config/ on real pictures that were held out: `make results DATA=DIR`."""
