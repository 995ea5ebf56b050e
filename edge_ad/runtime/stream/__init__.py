"""One stream on a device: source, network, decision, and what is reported of it."""
