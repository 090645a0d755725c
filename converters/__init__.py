"""Trained models → what a device runs: model.keras → model.onnx, compared with the original before anything is kept."""
