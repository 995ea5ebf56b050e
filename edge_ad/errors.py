"""The errors that a user can cause or meet, each printed by the CLI as one line: what, where, what to try.

`exit_code` follows the convention of the command line: 1 run-time error, 2 usage,
3 quality gate failed, 4 parity failed.
"""

from __future__ import annotations

from os import PathLike


class EdgeAdError(Exception):
    """Root of all expected errors.

    what: what went wrong, in one clause. where: the file, key or device it concerns.
    hint: what the user can try next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | PathLike[str] | None = None, hint: str | None = None):
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        text = text if self.hint is None else f"{text}; {self.hint}"
        return " ".join(text.split())


class UsageError(EdgeAdError):
    """An option or argument that cannot be right."""

    exit_code = 2


class DataError(EdgeAdError):
    """Input data that cannot be used: a missing folder, an unreadable image, a wrong shape."""


class ModelError(EdgeAdError):
    """A model folder or weights file that cannot be loaded."""


class TargetError(EdgeAdError):
    """A target that is unknown or cannot take this network."""


class BudgetError(TargetError):
    """A payload that does not fit its target."""


class SweepError(EdgeAdError):
    """A sweep's folder, journal or executor that cannot be used."""


class EngineError(EdgeAdError):
    """An inference engine that is missing, or refuses a payload."""


class MissingDependencyError(EdgeAdError):
    """An optional package that this command needs is not installed."""


class BundleError(EdgeAdError):
    """A bundle that cannot be read or written."""


class TruncatedBundleError(BundleError):
    """The archive ends early or is no bundle at all."""


class TraversalError(BundleError):
    """A member whose name leads out of the bundle, or that is no plain file."""


class SizeError(BundleError):
    """A member, or the whole, is larger than a bundle may be."""


class DigestError(BundleError):
    """A file's content is not what the manifest says."""


class SchemaError(BundleError):
    """The manifest is of an unknown schema or breaks its schema."""


class SignatureError(BundleError):
    """A bundle without a signature that is trusted, or a key that is none."""


class DeployError(EdgeAdError):
    """A deployment folder that cannot be used, or has nothing to roll back to."""


class PortError(EdgeAdError):
    """A serial port that cannot be opened."""


class LinkError(EdgeAdError):
    """A board that does not answer, or not in the link's protocol."""


class RestartError(LinkError):
    """A board that restarted in the middle of a conversation."""


class BoardError(EdgeAdError):
    """A board that refuses a request. status, detail: its answer (docs/link.md); request: its type."""

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None,
        status: int = 0, detail: bytes = b"", request: int = 0,
    ):  # fmt: skip
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.detail = detail
        self.request = request


class DialectError(EdgeAdError):
    """A board that refuses a command of MLPerf Tiny's text dialect. said: what stood in its e-[…]."""

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None, said: str = ""):
        super().__init__(what, where=where, hint=hint)
        self.said = said


class FirmwareError(EdgeAdError):
    """Firmware that cannot be built or programmed, or an emulator that does not start."""


class SourceError(EdgeAdError):
    """A camera, file or stream that cannot be opened or read."""


class SinkError(EdgeAdError):
    """A receiver of events that cannot be opened or written."""


class OutboxError(EdgeAdError):
    """The durable queue of events cannot be opened or written."""


class StationError(EdgeAdError):
    """A station file that breaks its schema, or names what is not there."""

    exit_code = 2


class RigError(EdgeAdError):
    """A rig file that breaks its schema, or names what is not there."""

    exit_code = 2


class LockedError(EdgeAdError):
    """A device that another rig holds."""


class QualityError(EdgeAdError):
    """A figure that the data cannot support or that misses what was asked."""

    exit_code = 3


class ParityError(EdgeAdError):
    """Two forms of one network that should agree do not."""

    exit_code = 4
