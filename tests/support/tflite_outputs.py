"""What an INT8 .tflite file makes of bytes of chance, as it leaves the kernels: tflite_outputs.py MODEL OUT.npz.

Needs LiteRT and NumPy only, so that a device and the host can both run it.
"""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

KERNELS = {"fast": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}


def main(model: str, out: str) -> None:
    made = {}
    for name, kernels in KERNELS.items():
        interpreter = Interpreter(model_path=model, num_threads=1, experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        for run in range(4):
            for given in interpreter.get_input_details():
                assert given["dtype"] == np.int8
                interpreter.set_tensor(given["index"], rng.integers(-128, 128, given["shape"], dtype=np.int8))
            interpreter.invoke()
            for place, output in enumerate(interpreter.get_output_details()):
                made[f"{name}-{run}-{place}"] = interpreter.get_tensor(output["index"])
    np.savez(out, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
