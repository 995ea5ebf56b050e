"""The compiler (host only): capture, quantize, lower, verify, calibrate, report. Each stage is a plain function."""
