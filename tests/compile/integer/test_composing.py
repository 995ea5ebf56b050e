"""Images of several graphs and of operators by hand: their order, memory, loops, ports and header."""

from __future__ import annotations

import ctypes
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from small_networks import dense
from tflite_maker import reference

from edge_ad.compile.integer.arena import plan
from edge_ad.compile.integer.graph import NO_NODE, Node
from edge_ad.compile.integer.image import Image, build_image, write_image
from edge_ad.compile.integer.lower import Builder, Program, Step
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records import Buffer, Loop, Record
from edge_ad.compile.integer.records.moves import Copy, Fill
from edge_ad.errors import EngineError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.monitor import Monitor, Stream
from edge_ad.firmware_bridge.port_spec import PortSpec

FIRST, SECOND = dense((12, 5, 8), 1), dense((8, 6, 3), 2)


def joined(*, keep: bool = False) -> Builder:
    """Two graphs, the second reading what the first gives; then the input copied, by hand, as a second output."""
    builder = Builder("plain")
    x = builder.input(PortSpec((1, 12)), keep=keep)
    (middle,) = builder.inline(parse_tflite(FIRST), [x])
    (y,) = builder.inline(parse_tflite(SECOND), [middle])
    again = builder.buffer(12)
    geometry = builder.constant(np.array([[1] * 5, [0] * 5, [0] * 5], np.int32))
    record = Copy(input=x, output=again, geometry=geometry, input_start=0, output_start=0, run=12)
    builder.step(record, reads=[x], writes=[again])
    builder.output(PortSpec((1, 3)), y)
    builder.output(PortSpec((1, 6), "int16"), again)
    return builder


@pytest.mark.parametrize("keep", [False, True])
def test_graphs_run_one_after_the_other_and_the_input_is_there_for_who_reads_it_last(keep: bool) -> None:
    image = write_image(joined(keep=keep).program)
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    for x in np.random.default_rng(0).integers(-128, 128, (20, 1, 12)).astype(np.int8):
        y, again = model.infer([x])
        np.testing.assert_array_equal(y, reference(SECOND, reference(FIRST, [x]))[0])
        assert again.dtype == np.int16 and again.shape == (1, 6)
        np.testing.assert_array_equal(again.ravel(), np.frombuffer(x.tobytes(), "<i2"))
    assert [step.node.index for step in image.program.steps] == [0, 1, 0, 1, NO_NODE]
    assert str(image.program.steps[-1].node) == "copy"


def test_equal_constants_of_two_graphs_are_kept_once() -> None:
    once = Builder("plain")
    once.inline(parse_tflite(FIRST), [once.buffer(12)])
    twice = Builder("plain")
    for _ in range(2):
        twice.inline(parse_tflite(FIRST), [twice.buffer(12)])
    assert twice.program.constants == once.program.constants and twice.next_step == 2 * once.next_step


def test_ports_that_do_not_fit_are_refused() -> None:
    builder = Builder("plain")
    with pytest.raises(ValueError, match=r"inputs of \[12\] bytes is given \[11\]"):
        builder.inline(parse_tflite(FIRST), [builder.buffer(11)])
    with pytest.raises(ValueError, match="an output of 8 bytes in a buffer of 3"):
        builder.output(PortSpec((1, 4), "int16"), builder.buffer(3))
    image = write_image(joined().program)
    with pytest.raises(EngineError, match=r"ports of \[3, 12\] bytes, not \[3, 3\]"):
        HostModel(image.content, inputs=image.inputs, outputs=[PortSpec((1, 3))] * 2)


@dataclass(frozen=True)
class Again(Loop):
    """A loop without code, of no image."""


@dataclass(frozen=True)
class Plain(Record):
    """Any operator."""


def random_program(rng: np.random.Generator) -> Program:
    """Steps that read and write buffers at random, with a loop over some of the earlier ones, whose operator reads
    all that the step before its body wrote."""
    program = Program("plain")

    def buffer() -> Buffer:
        program.buffers.append(Buffer(len(program.buffers), int(rng.integers(1, 64))))
        return program.buffers[-1]

    known = [buffer() for _ in range(2)]
    program.inputs = [(b, PortSpec((1, b.size))) for b in known]
    if rng.random() < 0.5:
        program.kept.add(0)
    n, first, count = int(rng.integers(6, 12)), int(rng.integers(1, 3)), int(rng.integers(1, 4))
    at = first + count + int(rng.integers(0, 2))
    node = Node(NO_NODE, "any", (), ())
    for number in range(n):
        recent = known[-4:]
        reads = tuple(recent[i] for i in rng.permutation(len(recent))[: int(rng.integers(1, 4))])
        writes = tuple(buffer() for _ in range(int(rng.integers(1, 3))))
        in_place = tuple((r, w) for r in reads for w in writes if rng.random() < 0.5)
        if number == at:
            reads = tuple({b.number: b for b in (*reads, *program.steps[first - 1].writes)}.values())
            program.steps.append(Step(Again(first, count), reads, writes, node))
        else:
            program.steps.append(Step(Plain(), reads, writes, node, in_place))
        known += writes
    program.outputs = [(b, PortSpec((1, b.size))) for b in program.steps[-1].writes]
    return program


def run(program: Program, places: dict[int, int], size: int) -> list[bytes]:
    """What becomes of the outputs, and of kept inputs, when buffers lie at these offsets of one memory."""
    memory = np.zeros(size, np.uint32)

    def view(b: Buffer) -> np.ndarray:
        return memory[places[b.number] : places[b.number] + b.size]

    def compute(step: Step, salt: int) -> None:
        total = sum((int(view(b).sum()) * (b.number + 7) for b in step.reads), salt)
        made = [
            (total + np.arange(b.size, dtype=np.uint64) * (b.number + 1)) % 65521 for b in step.writes
        ]  # all read before anything is written, as in an operator that works in place
        for b, values in zip(step.writes, made, strict=True):
            view(b)[:] = values

    def run_step(number: int) -> None:
        step = program.steps[number]
        if isinstance(step.record, Loop):
            for turn in range(3):
                state = program.steps[step.record.first - 1].writes
                for b in state:
                    view(b)[:] = (view(b) + int(sum(view(r).sum() for r in step.reads)) + turn) % 65521
                for again in range(step.record.first, step.record.first + step.record.count):
                    run_step(again)
        compute(step, number)

    for b, _ in program.inputs:
        view(b)[:] = np.arange(b.size) + 1
    for number in range(len(program.steps)):
        run_step(number)
    kept = [b for b, _ in program.inputs if b.number in program.kept]
    return [view(b).tobytes() for b in (*(b for b, _ in program.outputs), *kept)]


def test_shared_memory_changes_no_result_not_even_in_loops() -> None:
    shared = 0
    for seed in range(400):
        program = random_program(np.random.default_rng(seed))
        arena = plan(program)
        ends = np.cumsum([0] + [b.size for b in program.buffers])
        apart = {b.number: int(ends[b.number]) for b in program.buffers}
        planned = {b.number: arena.offset(b) for b in program.buffers}
        assert run(program, planned, arena.size) == run(program, apart, int(ends[-1])), seed
        shared += arena.size < int(ends[-1])
    assert shared > 300


def test_a_loop_may_only_run_checked_steps_before_its_own() -> None:
    image = write_image(joined().program)
    model = HostModel(image.content)
    before = model._library.edge_steps_before
    before.restype, before.argtypes = ctypes.c_bool, [ctypes.c_void_p] * 2 + [ctypes.c_int32] * 2
    n, at = len(image.program.steps), struct.unpack_from("<I", image.content, 20)[0]
    records = [struct.unpack_from("<HHIII", image.content, at + 16 * i)[2] for i in range(n)]

    def allowed(step: int, first: int, count: int) -> bool:
        return bool(before(ctypes.byref(model._model), model._model.image + records[step], first, count))

    assert allowed(4, 0, 4) and allowed(4, 1, 2) and allowed(1, 0, 1)
    wrong = [(4, 0, 5), (4, 4, 1), (4, -1, 2), (4, 0, 0), (0, 0, 1), (2, 1, 2), (4, 3, 2**31 - 1), (4, 1, -1)]
    assert not any(allowed(*case) for case in wrong)


@pytest.mark.parametrize(
    ("monitor", "reserved", "status"),
    [(0, 0, None), (0, 1, "damaged"), (64, 0, "damaged"), (56, 0, "damaged"), (66, 0, "damaged"),
     (1 << 30, 0, "damaged")],
)  # fmt: skip
def test_the_headers_last_words(monitor: int, reserved: int, status: str | None) -> None:
    content = bytearray(build_image(parse_tflite(FIRST), "plain").content)
    struct.pack_into("<II", content, 52, monitor, reserved)
    struct.pack_into("<I", content, 12, zlib.crc32(content[16:]))
    if status is None:
        HostModel(bytes(content))
        return
    with pytest.raises(EngineError, match=status):
        HostModel(bytes(content))


def _judging(monitor: Monitor) -> Image:
    builder = Builder("plain")
    out = builder.buffer(4)
    window = PortSpec((1, 4)) if monitor.stream is None else PortSpec((1, 2, 4), "int16")
    builder.input(window, keep=monitor.stream is not None)
    builder.step(Fill(output=out, count=4, value=7), reads=[], writes=[out])
    builder.output(PortSpec((1, 1), "int32"), out)
    return write_image(builder.program, monitor=monitor.pack())


STREAM = Stream(hop=2, rows=4, mean=(0.0, 1.0), std=(1.0, 2.0), scale=0.5)


@pytest.mark.parametrize("stream", [None, STREAM])
def test_what_a_board_decides_by_lies_where_the_header_says(stream: Stream | None) -> None:
    monitor = Monitor(10, 9, 12, -5, 20, 0.5, stream)
    image = _judging(monitor)
    at = struct.unpack_from("<I", image.content, 52)[0]
    assert image.content[at:].startswith(monitor.pack()) and at % 16 == 0
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    given = np.zeros((1, 4), np.int8) if stream is None else np.zeros((1, 2, 4), np.int16)
    assert model.infer([given])[0].tolist() == [[0x07070707]]


@pytest.mark.parametrize(
    ("word", "value"),
    [(0, 8), (0, 13), (0, 21), (1, 11), (3, 11), (5, 0), (6, 100), (7, 5), (8, 3), (9, 65), (9, 0), (10, 3),
     (11, 1 << 20), (14, 0), (14, 63)],
)  # fmt: skip
def test_nothing_else_is_taken_for_it(word: int, value: int) -> None:
    image = bytearray(_judging(Monitor(10, 9, 12, -5, 20, 0.5, STREAM)).content)
    at = struct.unpack_from("<I", image, 52)[0]
    struct.pack_into("<I", image, at + 4 * word, value)
    struct.pack_into("<I", image, 12, zlib.crc32(image[16:]))
    with pytest.raises(EngineError, match="damaged"):
        HostModel(bytes(image))


def test_a_place_that_is_marked_as_one_of_the_image_is_none_in_the_header() -> None:
    image = bytearray(_judging(Monitor(10, 9, 12, -5, 20, 0.5, STREAM)).content)
    at = struct.unpack_from("<I", image, 52)[0]
    struct.pack_into("<I", image, 52, at | 1 << 31)
    struct.pack_into("<I", image, 12, zlib.crc32(image[16:]))
    with pytest.raises(EngineError, match="damaged"):
        HostModel(bytes(image))
