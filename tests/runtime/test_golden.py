"""A device that computes what the host computed passes; one that does not is told where and by how much."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import Golden, HeadSpec, Payload
from edge_ad.errors import BundleError, EdgeAdError, EngineError, ParityError
from edge_ad.runtime.engines.base import EngineInfo, Tensor
from edge_ad.runtime.golden import check_golden, make_golden, npz_bytes

HEAD = HeadSpec(name="map-max", params={"output": "map", "gain": [2.0, -1.0], "offset": 0.25, "pad": 0})
OUTPUTS = ["map", "mean"]
FILE = "golden/board.npz"
# Golden vectors are part of a bundle's digest: their bytes may depend on nothing but the values.
NPZ_SHA256 = "525f331c22bd00668f3b7a3bf0d598c9890e16a5feeac1e5bd8bf9d47ec46ffa"


class Network:
    """Two maps of a (1, 3, 4, 5) uint8 image and its mean; `change` is what a faulty device does to the outputs."""

    parts: ClassVar[dict[str, Any]] = {}

    def __init__(self, change: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict):
        self.change = change
        self.batches: list[tuple[int, ...]] = []

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        if batch.shape != (1, 3, 4, 5) or batch.dtype != np.uint8:
            raise EngineError(f"the network takes (1, 3, 4, 5) uint8, not {batch.shape} {batch.dtype}")
        self.batches.append(batch.shape)
        pixels = batch.astype(np.float32) / 255
        outputs = {
            "map": np.stack([pixels.max(axis=1), pixels.min(axis=1)], axis=1),
            "mean": pixels.mean(axis=(1, 2, 3))[:, None],
            "unused": np.full((1,), np.nan, np.float32),
        }
        return self.change(outputs)

    def describe(self) -> EngineInfo:
        return EngineInfo("fake", "1", "CPU", "none", 1, "fp32")

    def close(self) -> None:
        pass


def images(count: int = 3) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, 3, 4, 5), dtype=np.uint8) for _ in range(count)]


NPZ = make_golden(images(), Network(), HEAD, OUTPUTS)


def payload(atol: float = 0.0, rtol: float = 0.0, **changes: Any) -> Payload:
    golden = Golden(file=FILE, count=3, atol=atol, rtol=rtol, basis="measured")
    # What a check does not look at is left out: thresholds, drift, budget, files.
    return Payload.model_construct(
        **{"target": "board", "outputs": OUTPUTS, "head": HEAD, "golden": golden, **changes}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "golden").mkdir()
    (tmp_path / FILE).write_bytes(NPZ)
    return tmp_path


def arrays() -> dict[str, Tensor]:
    with np.load(io.BytesIO(NPZ)) as archive:
        return dict(archive)


def shifted(
    output: str, index: tuple[int, ...], by: float
) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def change(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = outputs[output].copy()
        changed[index] += by
        return outputs | {output: changed}

    return change


def only(
    vector: int, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> Callable[..., dict[str, Tensor]]:
    """`change` for the vector of that index alone."""
    calls = iter(range(3))
    return lambda outputs: change(outputs) if next(calls) == vector else outputs


# How they are made


def test_what_golden_vectors_hold() -> None:
    held = arrays()
    assert {name: (array.shape, array.dtype.name) for name, array in held.items()} == {
        "input": ((3, 3, 4, 5), "uint8"),
        "map": ((3, 2, 4, 5), "float32"),
        "mean": ((3, 1), "float32"),
        "score": ((3,), "float32"),
    }
    np.testing.assert_array_equal(held["input"], np.concatenate(images()))
    combined = 2 * held["map"][:, 0] - held["map"][:, 1] + 0.25
    np.testing.assert_allclose(held["score"], combined.max(axis=(1, 2)), rtol=1e-6)


def test_equal_outputs_give_equal_bytes_in_whatever_order() -> None:
    backwards = make_golden(images(), Network(lambda o: dict(reversed(o.items()))), HEAD, OUTPUTS[::-1])
    assert backwards == NPZ


def test_the_bytes_are_the_same_on_any_day_and_machine() -> None:
    values = {"b": np.arange(6, dtype=np.uint8).reshape(1, 2, 3), "a": np.array([0.5, -2], np.float32)}
    assert hashlib.sha256(npz_bytes(values)).hexdigest() == NPZ_SHA256


@pytest.mark.parametrize(
    "array", [np.float32(3), np.zeros((0, 2)), np.asfortranarray(np.eye(3, 2)), np.arange(9)[::2]]
)
def test_an_npz_holds_any_array_as_it_is(array: Any) -> None:
    with np.load(io.BytesIO(npz_bytes({"a": array})), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["a"], array, strict=False)
        assert archive["a"].shape == np.shape(array)
        assert archive["a"].dtype == array.dtype


@pytest.mark.parametrize(
    ("inputs", "change", "outputs", "text"),
    [
        ([], dict, OUTPUTS, "no input"),
        (images(), dict, ["map", "depth"], "no output 'depth'; it has: map, mean, unused"),
        (images(), dict, ["map", "unused"], "values of 'unused' that are not finite"),
        (images(), shifted("map", (0, 0, 1, 1), math.inf), OUTPUTS, "values of 'map' that are not finite"),
        (images(), dict, ["input", "map"], "calls an output 'input'"),
    ],
)  # fmt: skip
def test_vectors_that_could_prove_nothing_are_not_made(
    inputs: list[Tensor], change: Callable[[Any], Any], outputs: list[str], text: str
) -> None:
    with pytest.raises(EngineError, match=text):
        make_golden(inputs, Network(change), HEAD, outputs)


def test_a_board_that_computes_the_score_itself_is_held_to_its_integer(folder: Path) -> None:
    """Two integers whose scores are one float32 number are still two."""

    class Board(Network):
        def infer(self, batch: Tensor) -> dict[str, Tensor]:
            return {"score": self.change({"score": np.full((1, 1), 1 << 28, np.int32)})["score"]}

    head = HeadSpec(name="value", params={"output": "score", "scale": 0.5, "zero_point": 0})
    (folder / FILE).write_bytes(make_golden(images(), Board(), head, ["score"]))
    with np.load(folder / FILE) as held:
        assert set(held) == {"input", "score", "output.score"} and held["output.score"].dtype == np.int32
        assert held["score"].tolist() == [2.0**27] * 3
    its = payload(outputs=["score"], head=head)
    assert check_golden(its, folder, Board()).passed
    wrong = check_golden(its, folder, Board(shifted("score", (0, 0), 1)))
    assert not wrong.passed and (wrong.worst_output, wrong.worst_error) == ("output.score", 1)


# What passes and what does not


def test_a_device_that_agrees_to_the_bit(folder: Path) -> None:
    network = Network()
    result = check_golden(payload(), folder, network)
    result.require()
    assert result.passed
    assert (result.count, result.worst_error, result.allowed) == (3, 0.0, 0.0)
    assert network.batches == [(1, 3, 4, 5)] * 3
    assert result.elapsed_s >= 0


@pytest.mark.parametrize("output", OUTPUTS)
def test_exact_means_exact(folder: Path, output: str) -> None:
    result = check_golden(payload(), folder, Network(shifted(output, (0, 0), 1e-6)))
    assert not result.passed
    assert result.worst_error > 0
    assert result.allowed == 0


@pytest.mark.parametrize("vector", range(3))
def test_an_output_is_held_to_the_peak_of_its_vector(folder: Path, vector: int) -> None:
    """|y - r| <= atol + rtol * max|r|: what one vector may differ by does not depend on the others."""
    peak = float(np.abs(arrays()["map"][vector]).max())
    for share, passes in [(0.9, True), (1.1, False)]:
        by = share * (0.01 + 0.1 * peak)
        network = Network(only(vector, shifted("map", (0, 1, 0, 0), by)))
        result = check_golden(payload(atol=0.01, rtol=0.1), folder, network)
        assert (result.passed, result.worst_output, result.worst_vector) == (passes, "map", vector)
        assert result.worst_error == pytest.approx(by, rel=1e-5)
        assert result.allowed == pytest.approx(0.01 + 0.1 * peak)


def test_a_score_is_held_to_the_largest_of_all_scores(folder: Path) -> None:
    """An offset may leave a score near nothing, whose terms, and rounding errors, are not small."""
    scores = arrays()["score"]
    head = HEAD.model_copy(update={"params": HEAD.params | {"offset": 0.25 - float(scores[0]) + 1e-6}})
    (folder / FILE).write_bytes(make_golden(images(), Network(), head, OUTPUTS))
    noise = 1e-4 * float(arrays()["map"].max())
    network = Network(lambda outputs: outputs | {"map": outputs["map"] + np.float32(noise)})
    result = check_golden(payload(rtol=0.01, head=head), folder, network)
    assert result.passed, result


def test_the_worst_is_named_by_what_is_allowed_there(folder: Path) -> None:
    """0.015 is less of a map, whose peak is near 1, than 0.012 of the mean, which is near 0.5."""
    shifts = only(
        1, lambda outputs: shifted("mean", (0, 0), 0.012)(shifted("map", (0, 1, 0, 0), 0.015)(outputs))
    )
    result = check_golden(payload(rtol=0.01), folder, Network(shifts))
    assert (result.passed, result.worst_output, result.worst_vector) == (False, "mean", 1)
    with pytest.raises(ParityError) as caught:
        result.require(where="part.edgead")
    assert str(caught.value).startswith(
        "part.edgead: golden vector 1: 'mean' differs by 0.012 from the host's, allowed is 0.00"
    )
    assert caught.value.exit_code == 4


def test_a_wrong_score_fails_where_the_outputs_agree(folder: Path) -> None:
    """As when a device's version of the head computes something else."""
    other = HEAD.model_copy(update={"params": HEAD.params | {"offset": 0.5}})
    result = check_golden(payload(rtol=0.01, head=other), folder, Network())
    assert (result.passed, result.worst_output) == (False, "score")
    assert result.worst_error == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("output", OUTPUTS)
def test_what_is_not_finite_fails_under_any_tolerance(folder: Path, output: str, value: float) -> None:
    result = check_golden(payload(atol=1e30), folder, Network(shifted(output, (0, 0), value)))
    assert not result.passed
    with pytest.raises(ParityError, match=rf"golden vector 0: '({output}|score)' is not finite"):
        result.require()


def test_a_score_that_overflows_fails(folder: Path) -> None:
    head = HEAD.model_copy(update={"params": HEAD.params | {"gain": [1e38, 1e38], "offset": 3e38}})
    result = check_golden(payload(atol=1e30, head=head), folder, Network())
    assert (result.passed, result.worst_output, result.worst_error) == (False, "score", math.inf)


# What cannot be checked


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda o: {"mean": o["mean"]}, EngineError, "no output 'map'; it has: mean"),
        (lambda o: o | {"mean": o["mean"][0]}, BundleError, r"'mean' is \(1,\), its golden vectors are \(1, 1\)"),
        (lambda o: o | {"map": o["map"][:, :, 1:]}, BundleError, r"'map' is \(1, 2, 3, 5\)"),
    ],
)  # fmt: skip
def test_a_network_of_other_outputs(
    folder: Path, change: Callable[[Any], Any], kind: type[EdgeAdError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        check_golden(payload(), folder, Network(change))


@pytest.mark.parametrize(
    "params", [{}, HEAD.params | {"output": "depth"}, HEAD.params | {"gain": []}, {"output": 3}]
)
def test_a_head_whose_parameters_do_not_fit(folder: Path, params: dict[str, Any]) -> None:
    head = HeadSpec(name="map-max", params=params)
    with pytest.raises(BundleError, match="parameters of score head 'map-max' do not fit"):
        check_golden(payload(head=head), folder, Network())


def test_inputs_that_the_network_does_not_take(folder: Path) -> None:
    held = arrays()
    (folder / FILE).write_bytes(npz_bytes(held | {"input": held["input"].astype(np.float32)}))
    with pytest.raises(EngineError, match="takes"):
        check_golden(payload(), folder, Network())


def compressed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays())
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays(), "score": np.array([{}, {}, {}], object)})
    return buffer.getvalue()


def twice() -> bytes:
    buffer = io.BytesIO(NPZ)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("score.npy", b"")
    return buffer.getvalue()


def claiming(shape: str) -> bytes:
    """The vectors with a score whose header claims another shape than it has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out, zipfile.ZipFile(io.BytesIO(NPZ)) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "score.npy":
                width = 20 + len(shape)  # the header is padded with blanks
                content = content.replace(b"(3,), }".ljust(width), f"{shape}, }}".encode().ljust(width))
            out.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: b"", "cannot be read"),
        (lambda: b"hello", "cannot be read"),
        (lambda: NPZ[:-30], "cannot be read"),
        (lambda: NPZ.replace(b"\x93NUMPY", b"\x93NUMPX"), "cannot be read"),
        (compressed, "is compressed"),
        (pickled, "cannot be read"),
        (twice, "hold input.npy, map.npy, mean.npy, score.npy, score.npy where"),
        (lambda: claiming("(3000000000000,)"), "cannot be read"),
        (lambda: claiming("(-3,)"), "cannot be read"),
        (lambda: npz_bytes({n: a for n, a in arrays().items() if n != "map"}), "where input.npy, map.npy, mean.npy"),
        (lambda: npz_bytes(arrays() | {"../up": np.zeros(3)}), "hold ../up.npy, input.npy"),
        (lambda: npz_bytes(arrays() | {"map": np.zeros((2, 2, 4, 5))}), "'map' is .*, not one for each of 3 vectors"),
        (lambda: npz_bytes(arrays() | {"score": np.float32(1)}), "'score' is .*, not one for each"),
        (lambda: npz_bytes(arrays() | {"score": np.zeros((3, 2))}), "'score' is .*, not one number a vector"),
        (lambda: npz_bytes(arrays() | {"score": np.array(["a", "b", "c"])}), "'score' is <U1, not numbers"),
        (lambda: npz_bytes(arrays() | {"mean": np.full((3, 1), np.nan)}), "'mean' is not finite"),
        (lambda: npz_bytes(arrays() | {"input": np.zeros((3, 3, 4, 5), "<i8")}), "'input' is int64, which no network"),
    ],
)  # fmt: skip
def test_vectors_that_are_none(folder: Path, make: Callable[[], bytes], text: str) -> None:
    (folder / FILE).write_bytes(make())
    with pytest.raises(BundleError, match=text) as caught:
        check_golden(payload(), folder, Network())
    assert str(caught.value).startswith(f"{folder / FILE}: ")
    assert str(caught.value).isprintable()


def test_vectors_that_are_missing(folder: Path) -> None:
    (folder / FILE).unlink()
    with pytest.raises(BundleError, match=r"cannot be read \(No such file or directory\)"):
        check_golden(payload(), folder, Network())


def test_other_than_as_many_as_promised(folder: Path) -> None:
    golden = payload().golden.model_copy(update={"count": 4})
    with pytest.raises(BundleError, match="not one for each of 4 vectors"):
        check_golden(payload(golden=golden), folder, Network())


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_is_refused_or_without_effect(folder: Path, data: st.DataObject) -> None:
    bad = bytearray(NPZ)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(bad)))
        bad[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    (folder / FILE).write_bytes(bad)
    try:
        result = check_golden(payload(), folder, Network())
    except EdgeAdError as error:
        assert str(error).isprintable()
    else:
        assert result.passed
