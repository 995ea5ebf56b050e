"""Linux devices that ssh reaches, with edge-ad installed: a deployment folder there (docs/deployment.md)."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator

import numpy as np

from edge_ad.bundle.archive import open_bundle
from edge_ad.bundle.manifest import Payload
from edge_ad.rig.config import Rig
from edge_ad.rig.devices.base import OpenDevice
from edge_ad.rig.tables import BundleTable, SshTable
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.deployment.remote import flash as remote
from edge_ad.runtime.deployment.remote.address import parse_address
from edge_ad.runtime.deployment.remote.protocol import Device, Proved, Scored, parse_answer, understood
from edge_ad.runtime.deployment.remote.transport import Connection
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.golden import GoldenResult

_CHUNK_BYTES = 1 << 18


def identity(table: SshTable, rig: Rig) -> str:
    """Its address, whoever logs in."""
    address = parse_address(table.address)
    host = address.destination.rpartition("@")[2]
    return f"ssh:{host}:{address.port or 22}{address.folder}"


@contextlib.contextmanager
def opened(table: SshTable, rig: Rig) -> Iterator[SshDevice]:
    """Ask it who it is. Raises DeployError when it cannot be reached."""
    with SshDevice(table, rig) as device:
        yield device


class SshDevice(OpenDevice):
    """One login for each question, as `edge-ad flash` has it: what was asked last counts, whoever else flashes."""

    def __init__(self, table: SshTable, rig: Rig):
        super().__init__(table, rig)
        self._address = parse_address(table.address)
        self._command = table.remote_command
        self._files: dict[str, BundleTable] = {}
        self._device = self._who()

    def bundle(self, table: BundleTable) -> LiveBundle:
        """As of `OpenDevice`."""
        found = super().bundle(table)
        self._files[found.digest] = table
        return found

    def payload(self, bundle: LiveBundle) -> Payload:
        """As of `OpenDevice`: the one named, else the only one that the device can run."""
        return remote.choose(bundle.manifest, self._device, self.table.target, where=str(self._address))

    def differs(self, bundle: LiveBundle) -> str | None:
        """As of `OpenDevice`: by the digest of what is live."""
        self._device = self._who()
        if self._device.live == bundle.digest:
            return None
        if self._device.live is None:
            return "no bundle is live"
        return f"another bundle is live: {self._device.live[:12]}, not {bundle.digest[:12]}"

    def flash(self, bundle: LiveBundle) -> None:
        """As of `OpenDevice`."""
        path = self.rig.resolve(self._files[bundle.digest].path)
        with open_bundle(path) as source:
            remote.flash(source, self._address, target=self.table.target, remote_command=self._command)

    def prove(self, bundle: LiveBundle) -> GoldenResult:
        """As of `OpenDevice`."""
        told: Proved = understood(Proved, self._ask("prove"), where=str(self._address))
        worst = math.inf if told.worst_error is None else told.worst_error
        return GoldenResult(
            told.passed, told.vectors, told.worst_output, told.worst_vector, worst, told.allowed, told.elapsed_s,
            told.ran_on,
        )  # fmt: skip

    def scores(self, bundle: LiveBundle, inputs: Tensor) -> Tensor:
        """As of `OpenDevice`."""
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(inputs), allow_pickle=False)
        told: Scored = understood(Scored, self._ask("score", buffer.getvalue()), where=str(self._address))
        return np.array(told.scores)

    def costs(self, bundle: LiveBundle) -> dict[str, float]:
        """As of `OpenDevice`: the payload's files, and the mean time of its golden vectors, scores included."""
        proof, files = self.prove(bundle), bundle.manifest.files
        payload = self.payload(bundle)
        size = sum(files[name].size for name in dict.fromkeys([*payload.files, *payload.parts.values()]))
        return {"flash_bytes": size, "latency_us": proof.elapsed_s * 1e6 / proof.count}

    def properties(self) -> dict[str, str]:
        """As of `OpenDevice`."""
        told = self._device
        return {
            "board": told.machine, "firmware": f"edge-ad {told.version}", "system": told.system,
            "address": str(self._address), "board_serial": self.table.serial or "unknown",
        }  # fmt: skip

    def _who(self) -> Device:
        found: Device = understood(Device, self._ask("ask"), where=str(self._address))
        return found

    def _ask(self, word: str, stdin: bytes = b"") -> dict[str, object]:
        pieces = (stdin[at : at + _CHUNK_BYTES] for at in range(0, len(stdin), _CHUNK_BYTES))
        with Connection(self._address, self._command) as connection:
            raw = connection.ask(word, self._address.folder, stdin=pieces)
        return parse_answer(raw, where=str(self._address))
