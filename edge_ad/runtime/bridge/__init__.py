"""The gateway: events of boards on serial lines, carried to sinks through an outbox (docs/bridge.md)."""

from edge_ad.runtime.bridge.bridge import Bridge, BridgeConfig, BridgeSummary

__all__ = ["Bridge", "BridgeConfig", "BridgeSummary"]
