"""What keeps a device that nobody looks at in order: its log, watchdog, health, metrics and unit."""
