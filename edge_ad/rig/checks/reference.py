"""What a board should compute: the same image by this machine's build of the engine, or on a board of QEMU's."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_ad.errors import MissingDependencyError
from edge_ad.firmware_bridge.boards import of_target
from edge_ad.firmware_bridge.client import BoardClient
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.flasher import flash_image, read_header
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.image_steps import Step, steps
from edge_ad.firmware_bridge.port_spec import random_inputs
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.engines.image_ports import Ports


class Reference(Protocol):
    """name: for people. steps: of its image, which may be of another kernel set than the board's."""

    name: str
    steps: Sequence[Step]

    def outputs(self, values: bytes) -> list[bytes]:
        """The bytes of all outputs for the bytes of the input."""
        ...

    def trace(self, values: bytes) -> Iterator[Traced]:
        """Each step that writes a tensor, in order."""
        ...


class Traced(NamedTuple):
    """tensor: of a step, as bytes. known: which of them it, or a part of the same operator, has written; what lies
    elsewhere is left from before. Both (nbytes,)."""

    step: int
    tensor: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]


class HostReference:
    """A plain image by the engine that this machine's compiler built."""

    name = "host"

    def __init__(self, image: bytes, ports: Ports):
        self._ports = ports
        self._model = HostModel(image, inputs=[ports.input], outputs=list(ports.outputs.values()))
        self.steps: Sequence[Step] = steps(image)

    def outputs(self, values: bytes) -> list[bytes]:
        """As of `Reference`."""
        made = self._model.infer([self._ports.input.read(values)])
        return [spec.raw(one) for spec, one in zip(self._ports.outputs.values(), made, strict=True)]

    def trace(self, values: bytes) -> Iterator[Traced]:
        """As of `Reference`: what is the same whatever memory held before was written."""
        other = dict(self._model.trace([values], fill=0xFF))
        for number, raw in self._model.trace([values], fill=0):
            yield _traced(number, raw, other[number])


class BoardReference:
    """An image on an emulated board with this version's firmware."""

    def __init__(self, client: BoardClient, image: bytes, ports: Ports, name: str):
        self.name = name
        self.steps: Sequence[Step] = steps(image)
        self._client = client
        self._ports = ports

    def outputs(self, values: bytes) -> list[bytes]:
        """As of `Reference`."""
        self._client.set_input(0, values)
        self._client.run()
        return [self._client.output(i, spec.nbytes) for i, spec in enumerate(self._ports.outputs.values())]

    def trace(self, values: bytes) -> Iterator[Traced]:
        """As of `Reference`: what is the same after inferences of two other inputs was written."""
        before = random_inputs(self._ports.input, 2, 1)
        for number, step in enumerate(self.steps):
            if step.output is not None:
                yield _traced(number, *(self._after(other, number, step, values) for other in before))

    def _after(self, other: bytes, number: int, step: Step, values: bytes) -> bytes:
        self._client.set_input(0, other)
        self._client.run()
        return tensor_of(self._client, number, step, values)


def _traced(number: int, one: bytes, other: bytes) -> Traced:
    tensor = np.frombuffer(one, np.uint8)
    return Traced(number, tensor, tensor == np.frombuffer(other, np.uint8))


def tensor_of(client: BoardClient, number: int, step: Step, values: bytes) -> bytes:
    """What a board's step writes, for an input."""
    client.set_input(0, values)
    client.run(number + 1)
    return client.tensor(number, step.nbytes)


@contextlib.contextmanager
def host_reference(board: BoardDevice, bundle: LiveBundle) -> Iterator[Reference | None]:
    """By this machine, where the bundle has an image with plain kernels (target posix) and there is a C compiler."""
    ports = board.ports(bundle)
    try:
        image = _plain_image(bundle, ports)
        yield None if image is None else HostReference(image, ports)
    except MissingDependencyError:
        yield None


@contextlib.contextmanager
def emulated_reference(board: BoardDevice, bundle: LiveBundle) -> Iterator[Reference | None]:
    """By a board of QEMU's of the same target, where one can be started: it runs the very same image."""
    machines = [b for b in of_target(board.payload(bundle).target) if b.machine is not None]
    with contextlib.ExitStack() as opened:
        connection = None
        if machines:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="edge-ad-")))
            with contextlib.suppress(MissingDependencyError):
                address = BoardAddress(board=machines[0].address, state=folder)
                connection = opened.enter_context(Connection(address))
        if connection is None:
            yield None
            return
        image = board.image(bundle)
        flash_image(connection.client, image)
        yield BoardReference(connection.client, image, board.ports(bundle), machines[0].address)


def _plain_image(bundle: LiveBundle, ports: Ports) -> bytes | None:
    """An image of the bundle that this machine runs and that has the same ports."""
    for payload in bundle.manifest.payloads:
        if payload.engine == "board":
            image = (bundle.folder / payload.model).read_bytes()
            same = Ports.of(payload.options["input"], payload.options["outputs"]) == ports
            if same and read_header(image).kernels == "plain":
                return image
    return None
