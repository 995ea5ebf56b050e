"""Moving bytes: a view of one tensor into a view of another, in as few and as long runs as there are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.moves import Copy, Fill

DIMENSIONS = 5
View = npt.NDArray[np.int64]


def places(shape: tuple[int, ...]) -> View:
    """Each element's place in memory. NumPy's own views of it (slices, transposes) say where a view's bytes lie."""
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)


def copy(
    builder: Builder, node: Node, source: int, output: int, source_view: View, output_view: View
) -> None:
    """Copy a view of tensor `source` into a view, of the same shape, of tensor `output`."""
    geometry, run = _collapse(source_view, output_view)
    if len(geometry[0]) > DIMENSIONS:
        raise builder.refuse(node, "moves bytes in more than five dimensions", "split it into two steps")
    each = builder.tensor(output).dtype.itemsize
    padded = np.zeros((3, DIMENSIONS), np.int32)
    padded[0] = 1
    if geometry.size:
        padded[:, DIMENSIONS - geometry.shape[1] :] = geometry
    padded[1:] *= each
    read, written = builder.ref(source), builder.ref(output)
    record = Copy(
        input=read,
        output=written,
        geometry=builder.constant(padded),
        input_start=int(source_view.flat[0]) * each,
        output_start=int(output_view.flat[0]) * each,
        run=run * each,
    )
    builder.emit(node, record, reads=[read], writes=[written])


def fill(builder: Builder, node: Node, output: int, value: int) -> None:
    """Set all bytes of tensor `output` to `value`."""
    written = builder.ref(output)
    builder.emit(
        node,
        Fill(output=written, count=builder.tensor(output).nbytes, value=value),
        reads=[],
        writes=[written],
    )


def rearrange(builder: Builder, node: Node, source: int, output: int, source_view: View) -> None:
    """Tensor `output` holds a view of `source`, in its order. Where that moves nothing, they share their memory."""
    tensor = builder.tensor(source)
    whole = source_view.size == tensor.size and bool((np.diff(source_view.ravel()) == 1).all())
    if whole and tensor.data is None and builder.tensor(output).part is None:
        builder.alias(output, source)
        return
    copy(builder, node, source, output, source_view, places(source_view.shape))


def _collapse(source: View, output: View) -> tuple[npt.NDArray[np.int64], int]:
    """Extents and strides of both, (3, dimensions), without what is 1, merged where both allow; and the run's bytes."""
    strides = [[s // 8 for s in view.strides] for view in (source, output)]
    columns: list[list[int]] = []
    for extent, a, b in zip(source.shape, *strides, strict=True):
        if extent == 1:
            continue
        last = columns[-1] if columns else None
        if last is not None and last[1] == a * extent and last[2] == b * extent:
            columns[-1] = [last[0] * extent, a, b]
        else:
            columns.append([extent, a, b])
    run = 1
    if columns and columns[-1][1:] == [1, 1]:
        run = columns.pop()[0]
    return np.array(columns, np.int64).reshape(-1, 3).T, run
