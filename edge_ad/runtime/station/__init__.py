"""A station: the streams, bundles and sinks of one device, as a TOML file describes them (docs/station.md)."""
