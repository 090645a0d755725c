"""A bundle's graph → a TensorRT engine for the device that runs this, for TensorRT 8.6, 10 and 11 alike."""
