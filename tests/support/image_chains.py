"""Random networks of images, as .tflite files: chains of convolutions, pools and resizes with branches that join."""

from __future__ import annotations

import numpy as np
from tflite_maker import Maker

_ACTIVATIONS = (0, 1, 3)


class Chain:
    """Grows a network, tensor by tensor; `tensors`: those of four dimensions that are there so far."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.m = Maker()
        side = self.rng.integers(9, 20, 2)
        self.tensors = [self._tensor((1, int(side[0]), int(side[1]), int(self.rng.integers(1, 5))))]

    def grow(self, count: int) -> bytes:
        """The file after `count` more operators; its outputs are the newest tensor and now and then an older one."""
        kinds = [self._convolution, self._convolution, self._depthwise, self._pool, self._resize, self._table,
                 self._join, self._pad]  # fmt: skip
        while count:
            source = self.tensors[
                -1 if self.rng.random() < 0.75 else int(self.rng.integers(len(self.tensors)))
            ]
            count -= bool(kinds[int(self.rng.integers(len(kinds)))](source))
        outputs = [self.tensors[-1]]
        if self.rng.random() < 0.4 and len(self.tensors) > 2:
            outputs.append(self.tensors[int(self.rng.integers(1, len(self.tensors) - 1))])
        return self.m.data([self.tensors[0]], outputs)

    def shape(self, index: int) -> tuple[int, int, int, int]:
        _, h, w, c = self.m.graph.tensors[index].shape
        return 1, h, w, c

    def _tensor(self, shape: tuple[int, ...], like: int | None = None) -> int:
        if like is not None:
            q = self.m.graph.tensors[like].quantization
            return self.m.tensor(shape, q.scale, q.zeroPoint)
        return self.m.tensor(shape, float(self.rng.uniform(0.02, 0.08)), int(self.rng.integers(-60, 60)))

    def weights(self, shape: tuple[int, ...], axis: int, source: int) -> list[int]:
        scales = self.rng.uniform(0.004, 0.02, shape[axis]).astype(np.float32)
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        bias = self.rng.integers(-800, 800, shape[axis]).astype(np.int32)
        q = self.m.graph.tensors[source].quantization
        return [
            self.m.tensor(shape, scales, 0, data=data, axis=axis),
            self.m.tensor((shape[axis],), np.float32(q.scale[0]) * scales, 0, dtype="INT32", data=bias),
        ]

    def _window(self, source: int) -> tuple[dict[str, int], tuple[int, int], tuple[int, int]] | None:
        """Options of a window, its taps, and the output's extents; None where it does not fit."""
        _, h, w, _ = self.shape(source)
        taps = int(self.rng.integers(1, 5)), int(self.rng.integers(1, 5))
        stride, padding = int(self.rng.choice([1, 1, 1, 2, 3])), int(self.rng.integers(2))
        if padding and (taps[0] > h or taps[1] > w):
            return None
        out = [
            -(-n // stride) if padding == 0 else (n - k) // stride + 1
            for n, k in zip((h, w), taps, strict=True)
        ]
        options = {"padding": padding, "strideH": stride, "strideW": stride}
        return (options, taps, (out[0], out[1])) if min(out) > 2 else None

    def _convolution(self, source: int) -> bool:
        window = self._window(source)
        if window is None:
            return False
        options, taps, extents = window
        c = self.shape(source)[3]
        wide = int(self.rng.integers(1, 6))
        output = self._tensor((1, *extents, wide))
        self.m.operator("CONV_2D", [source, *self.weights((wide, *taps, c), 0, source)], [output], "Conv2DOptions", 3,
                        **options, dilationHFactor=1, dilationWFactor=1,
                        fusedActivationFunction=int(self.rng.choice(_ACTIVATIONS)))  # fmt: skip
        return self._add(output)

    def _depthwise(self, source: int) -> bool:
        window = self._window(source)
        if window is None:
            return False
        options, taps, extents = window
        c = self.shape(source)[3]
        output = self._tensor((1, *extents, c))
        self.m.operator("DEPTHWISE_CONV_2D", [source, *self.weights((1, *taps, c), 3, source)], [output],
                        "DepthwiseConv2DOptions", 3, **options, dilationHFactor=1, dilationWFactor=1,
                        depthMultiplier=1)  # fmt: skip
        return self._add(output)

    def _pool(self, source: int) -> bool:
        window = self._window(source)
        if window is None:
            return False
        options, taps, extents = window
        output = self._tensor((1, *extents, self.shape(source)[3]), like=source)
        kind = str(self.rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
        self.m.operator(kind, [source], [output], "Pool2DOptions", 2, **options, filterHeight=taps[0],
                        filterWidth=taps[1])  # fmt: skip
        return self._add(output)

    def _resize(self, source: int) -> bool:
        _, h, w, c = self.shape(source)
        h, w = int(self.rng.integers(h, 2 * h + 1)), int(self.rng.integers(w, 2 * w + 1))
        if h > 40:
            return False
        size = self.m.tensor((2,), dtype="INT32", data=np.array([h, w], np.int32))
        output = self._tensor((1, h, w, c), like=source)
        kind = str(self.rng.choice(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]))
        options = "ResizeBilinearOptions" if kind == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
        corners = bool(self.rng.integers(2))
        self.m.operator(
            kind, [source, size], [output], options, 3, alignCorners=corners, halfPixelCenters=not corners
        )
        return self._add(output)

    def _table(self, source: int) -> bool:
        output = self._tensor(self.shape(source))
        self.m.operator(str(self.rng.choice(["QUANTIZE", "TANH", "GELU"])), [source], [output])
        return self._add(output)

    def _join(self, source: int) -> bool:
        """A sum or product with, or a concatenation to, another tensor of the same rows and columns."""
        shape = self.shape(source)
        others = [t for t in self.tensors if self.shape(t)[:3] == shape[:3]]
        other = others[int(self.rng.integers(len(others)))]
        kind = str(self.rng.choice(["ADD", "SUB", "MUL", "CONCATENATION"]))
        if kind == "CONCATENATION":
            alike = self._tensor(self.shape(other), like=source)
            self.m.operator("QUANTIZE", [other], [alike])
            output = self._tensor((*shape[:3], shape[3] + self.shape(other)[3]), like=source)
            self.m.operator(kind, [source, alike], [output], "ConcatenationOptions", 2, axis=3)
            return self._add(output)
        if self.shape(other)[3] not in (1, shape[3]):
            return False
        output = self._tensor(shape)
        self.m.operator(kind, [source, other], [output], f"{kind.capitalize()}Options", 2)
        return self._add(output)

    def _pad(self, source: int) -> bool:
        """Rows and columns of zeros around, then a convolution over them, as converters write it."""
        _, h, w, c = self.shape(source)
        margins = np.array([[0, 0], self.rng.integers(0, 3, 2), self.rng.integers(0, 3, 2), [0, 0]], np.int32)
        h, w = h + int(margins[1].sum()), w + int(margins[2].sum())
        padded = self._tensor((1, h, w, c), like=source)
        given = self.m.tensor((4, 2), dtype="INT32", data=margins)
        self.m.operator("PAD", [source, given], [padded], "PadOptions", 2)
        if self.rng.random() < 0.2:
            return self._add(padded)
        return self._convolution(padded) or self._add(padded)

    def _add(self, output: int) -> bool:
        self.tensors.append(output)
        return True


def first_layers() -> bytes:
    """Convolution, pool, convolution, pool of an image of 64 x 64 pixels."""
    chain = Chain(0)
    m = chain.m
    m.graph.tensors.clear()
    x = m.tensor((1, 64, 64, 3), 1.0, -128)
    for side, depth in ((61, 3), (27, 16)):
        convolved, pooled = (
            m.tensor((1, side, side, 16), 0.1, -128),
            m.tensor((1, side // 2, side // 2, 16), 0.1, -128),
        )
        m.operator("CONV_2D", [x, *chain.weights((16, 4, 4, depth), 0, x)], [convolved], "Conv2DOptions", 3, padding=1,
                   strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)  # fmt: skip
        m.operator("AVERAGE_POOL_2D", [convolved], [pooled], "Pool2DOptions", 2, padding=1, strideH=2, strideW=2,
                   filterHeight=2, filterWidth=2)  # fmt: skip
        x = pooled
    return m.data([0], [x])
