"""Networks that were fitted elsewhere and came as ONNX files: read, checked, and made into detectors."""
