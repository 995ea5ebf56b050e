"""The bundle: manifest, archive and digests. Everything here also runs on a device."""
