"""The durable queue between verdicts and receivers: nothing leaves the device before it is safe here."""
