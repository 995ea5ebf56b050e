"""Flashing a device over SSH: OpenSSH's own client here, `edge-ad receive` there, a deployment folder at the far end.

`address` and `transport` know ssh, `receiving` is what the device does, `protocol` what both say to each other, and
`flash` goes through the steps for one device. `docs/deployment.md` has the user's side.
"""
