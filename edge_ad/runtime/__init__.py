"""What runs on a device: preprocessing, engines, heads, sources, decision, sinks. It never imports torch."""
