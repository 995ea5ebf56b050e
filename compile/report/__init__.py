"""The compile report, as JSON and HTML: what was built, what that changed, what was decided and why."""
