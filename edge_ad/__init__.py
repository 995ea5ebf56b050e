"""edge-ad: compile, calibrate, prove and run anomaly detectors on edge devices."""

import sys

__version__ = "0.1.0"

# openvino tells its maker of every import, from a process that it forks; a device talks to nobody unasked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
