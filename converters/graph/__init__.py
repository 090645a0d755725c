"""ONNX graphs: the contract, their layout, and where they come from."""
