"""Many lines on one broker and one dashboard: `python -m benchmarks.site`, described in docs/scale.md."""
