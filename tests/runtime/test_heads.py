"""A score is a small exact function of the network's outputs, the same on every machine; what does not fit is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.errors import BundleError, EngineError, SchemaError
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.heads import evaluate

PARAMS = {"output": "maps", "gain": [2.0, -0.5], "offset": 0.25, "pad": 2}


def head(**changes: Any) -> HeadSpec:
    params = {**PARAMS, **changes}
    return HeadSpec(
        name="map-max", params={name: value for name, value in params.items() if value is not ...}
    )


def maps(n: int = 3, k: int = 2, height: int = 4, width: int = 5, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k, height, width)).astype(np.float32)


def by_definition(gain: list[float], offset: float, values: Tensor) -> tuple[Tensor, Tensor]:
    """max over positions of sum_k gain[k] * maps[:, k] + offset, in float64."""
    wanted = np.einsum("k,nkyx->nyx", np.asarray(gain), values.astype(np.float64)) + offset
    return wanted.reshape(len(wanted), -1).max(axis=1), wanted


def test_a_score_by_hand() -> None:
    values = np.array([[[[1, 5], [2, 0]], [[4, 20], [0, 0]]]], np.float32)  # 2 a - b / 2 + 1/4
    result = evaluate(head(), {"maps": values})
    np.testing.assert_array_equal(result.maps, [[[0.25, 0.25], [4.25, 0.25]]])
    np.testing.assert_array_equal(result.scores, [4.25])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_scores_are_those_of_the_definition(data: st.DataObject) -> None:
    n, k, height, width = (data.draw(st.integers(1, most)) for most in (3, 4, 6, 6))
    gain = data.draw(st.lists(st.floats(-100, 100), min_size=k, max_size=k))
    offset = data.draw(st.floats(-1000, 1000))
    values = maps(n, k, height, width, seed=data.draw(st.integers(0, 99)))
    result = evaluate(head(gain=gain, offset=offset), {"maps": values, "other": values[:0]})
    scores, wanted = by_definition(gain, offset, values)
    assert result.scores.dtype == np.float32
    # Every term, and each of the k + 1 sums, is rounded to 24 bits.
    terms = np.abs(np.asarray(gain)[None, :, None, None] * values).sum(axis=1) + abs(offset)
    bound = (2 * k + 3) * 2.0**-24 * terms + 1e-30
    assert (np.abs(result.scores - scores) <= bound.reshape(n, -1).max(axis=1)).all()
    if height * width == 1:  # which is no map
        assert result.maps is None
        return
    assert result.maps is not None and result.maps.dtype == np.float32
    assert (np.abs(result.maps - wanted) <= bound).all()


def test_sums_are_made_in_float32_in_the_order_of_the_maps() -> None:
    """So that two machines, and a board in C, get the same bits."""
    gain, offset = [1e4, 1.0, -1e4], 1e-3
    values = maps(2, 3)
    f32 = np.float32
    wanted = np.empty((2, 4, 5), f32)
    for n, y, x in np.ndindex(2, 4, 5):
        total = f32(0)
        for k in range(3):
            total = f32(total + f32(f32(gain[k]) * values[n, k, y, x]))
        wanted[n, y, x] = f32(total + f32(offset))
    backwards = sum(f32(gain[k]) * values[:, k] for k in (2, 1, 0)) + f32(offset)
    assert not np.array_equal(backwards, wanted)  # here the order does matter
    result = evaluate(head(gain=gain, offset=offset), {"maps": values})
    assert result.maps is not None
    np.testing.assert_array_equal(result.maps, wanted)
    np.testing.assert_array_equal(result.scores, wanted.reshape(2, -1).max(axis=1))


def test_inputs_of_a_batch_do_not_touch_each_other_nor_are_they_changed() -> None:
    values = maps(4)
    before = values.copy()
    together = evaluate(head(), {"maps": values}).scores
    alone = [evaluate(head(), {"maps": values[i : i + 1]}).scores[0] for i in range(4)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "float16", "float64"])
def test_outputs_of_other_types(dtype: str) -> None:
    values = (np.arange(40).reshape(1, 2, 4, 5) % 100).astype(dtype)
    result = evaluate(head(), {"maps": values})
    np.testing.assert_array_equal(result.scores, by_definition([2.0, -0.5], 0.25, values)[0])


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[..., ::-1][..., ::-1], lambda a: a.copy()])
def test_any_layout_in_memory(layout: Any) -> None:
    wanted = evaluate(head(), {"maps": maps()})
    np.testing.assert_array_equal(evaluate(head(), {"maps": layout(maps())}).maps, wanted.maps)


def test_keys_that_say_where_the_parameters_come_from_change_nothing() -> None:
    plain = evaluate(head(), {"maps": maps()})
    noted = evaluate(head(quantiles=[[0.1, 0.2]], pad=0), {"maps": maps()})
    np.testing.assert_array_equal(plain.scores, noted.scores)
    integers = evaluate(head(gain=[2, 1], offset=0, pad=...), {"maps": maps()})
    assert integers.scores.shape == (3,)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"output": ...}, "'output': Field required"),
        ({"gain": ...}, "'gain': Field required"),
        ({"offset": ...}, "'offset': Field required"),
        ({"output": 3}, "'output': Input should be a valid string"),
        ({"output": "depth"}, "no output 'depth' among maps, mean"),
        ({"gain": []}, "'gain': List should have at least 1 item"),
        ({"gain": [1.0]}, r"output 'maps' is \(3, 2, 4, 5\), not \(N, 1, height, width\)"),
        ({"gain": [1.0, 2.0, 3.0]}, r"not \(N, 3, height, width\)"),
        ({"gain": 1.0}, "'gain': Input should be a valid list"),
        ({"gain": [1.0, "2"]}, r"'gain\.1': Input should be a valid number"),
        ({"gain": [1.0, math.nan]}, r"'gain\.1'"),
        ({"gain": [1.0, math.inf]}, r"'gain\.1'"),
        ({"gain": [1.0, 1e39]}, r"'gain\.1'"),
        ({"gain": [[1.0], [2.0]]}, r"'gain\.0'"),
        ({"offset": None}, "'offset'"),
        ({"offset": -1e39}, "'offset'"),
        ({"offset": True}, "'offset'"),
        ({"pad": -1}, "'pad'"),
        ({"pad": 0.5}, "'pad'"),
        ({"output": "mean", "gain": [1.0]}, r"output 'mean' is \(3, 1\), not"),
        ({"output": "a\x1b[2J\nb"}, "no output ''a"),
    ],
)
def test_parameters_that_do_not_fit(changes: dict[str, Any], text: str) -> None:
    outputs = {"maps": maps(), "mean": np.zeros((3, 1), np.float32)}
    with pytest.raises(SchemaError, match=text) as caught:
        evaluate(head(**changes), outputs)
    message = str(caught.value)
    assert "parameters of score head 'map-max' do not fit the network" in message
    assert message.isprintable()


@pytest.mark.parametrize("shape", [(1, 2, 0, 5), (1, 2, 4, 0), (2, 4, 5), (1, 1, 2, 4, 5), ()])
def test_maps_without_a_maximum(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match="do not fit the network"):
        evaluate(head(), {"maps": np.zeros(shape, np.float32)})


def test_a_batch_of_none() -> None:
    result = evaluate(head(), {"maps": maps(0)})
    assert result.scores.shape == (0,)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite(value: float) -> None:
    """Wherever in the batch and on the grid it comes from."""
    for index in [(0, 0, 0, 0), (2, 0, 3, 4), (1, 0, 1, 2)]:
        values = maps()
        values[index] = value
        with pytest.raises(EngineError, match="not finite"), np.errstate(invalid="ignore"):
            evaluate(head(), {"maps": values})


def test_an_unknown_head() -> None:
    with pytest.raises(BundleError, match="unknown score head 'knn'; this version has: map-max"):
        evaluate(HeadSpec(name="knn", params=PARAMS), {"maps": maps()})
