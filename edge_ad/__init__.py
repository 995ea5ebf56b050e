"""edge-ad: compile, calibrate, prove and run anomaly detectors on edge devices."""

__version__ = "0.1.0"
