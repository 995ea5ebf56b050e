"""A network as C sources, for those who link the engine into firmware of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_ad.bundle.atomic import write_atomic
from edge_ad.compile.integer.image import KERNEL_SETS, Image
from edge_ad.compile.target import ImageTarget
from edge_ad.compile.tflite_bundle import image_for, output_names, read_network
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.host_library import ENGINE
from edge_ad.firmware_bridge.parts import parts_of_image
from edge_ad.firmware_bridge.port_spec import PortSpec

_PER_LINE = 16


def emit(model: Path, target: ImageTarget, folder: Path) -> list[Path]:
    """`write` for a .tflite file. Raises as `read_network`, `image_for` and `write`."""
    _, graph = read_network(model)
    image = image_for(graph, target)
    return write(image, target, folder, model.name, output_names(graph))


def write(
    image: Image, target: ImageTarget, folder: Path, name: str, outputs: Sequence[str], threshold: int | None = None
) -> list[Path]:  # fmt: skip
    """Write model.c, model.h and the engine's sources for a target's kernels into `folder`, which is made.

    model.h shows how they are compiled and called. outputs: their names. threshold: of the last output, the score,
    where there is one. Returns the files, model.h and model.c first. Raises UsageError for a folder that holds other C
    files in our places, and BundleError when a file cannot be written.
    """
    text = header(image, target, name, outputs, threshold)
    files = {"model.h": text.encode(), "model.c": source(image).encode()}
    files |= {f"{ENGINE.name}/{name}": path.read_bytes() for name, path in engine_sources(target.kernels)}
    _check_folder(folder, set(files))
    written = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
        written.append(path)
    return written


def engine_sources(kernels: str) -> Iterator[tuple[str, Path]]:
    """Name below the engine's folder, and path, of each file of the engine with a set of kernels.

    A set's own kernel replaces the plain one of the same name.
    """
    own = ENGINE / "kernels" / kernels
    others = {ENGINE / "kernels" / name for name in KERNEL_SETS if name != kernels}
    replaced = {path.name for path in own.glob("*.c")}
    for path in sorted(ENGINE.rglob("*.[ch]")):
        if path.parent not in others and not (path.parent == ENGINE / "kernels" and path.name in replaced):
            yield str(path.relative_to(ENGINE)), path


def _check_folder(folder: Path, names: set[str]) -> None:
    """Sources of another set of kernels would be compiled together with ours."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("is no folder", where=folder)
    for path in (folder / ENGINE.name).rglob("*.c"):
        if str(path.relative_to(folder)) not in names:
            raise UsageError("is no part of this engine", where=path, hint="name an empty folder")


def source(image: Image) -> str:
    """model.c: the image as an aligned constant."""
    rows = (image.content[i : i + _PER_LINE] for i in range(0, len(image.content), _PER_LINE))
    body = "\n".join("    " + " ".join(f"{byte}," for byte in row) for row in rows)
    return f"""/* Written by edge-ad. */
#include "model.h"

_Alignas(EDGE_ALIGNMENT) const unsigned char model_image[MODEL_IMAGE_BYTES] = {{
{body}
}};
"""


def header(
    image: Image, target: ImageTarget, name: str, output_names: Sequence[str], threshold: int | None = None
) -> str:
    """model.h: sizes, scales and zero points, and how it is used."""
    inputs, outputs = image.inputs, image.outputs
    names = ["input"] if len(inputs) == 1 else [f"input_{i}" for i in range(len(inputs))]
    ports = [*zip(names, inputs, strict=True), *zip(output_names, outputs, strict=True)]
    defines = "\n".join(line for label, port in ports for line in _port(label, port))
    if threshold is not None:
        defines += f"\n\n/* A score above this is an anomaly. */\n#define MODEL_THRESHOLD ({threshold})"
    shown = re.sub(r"[^\w .+-]", "_", name)
    flags = f"-DEDGE_KERNELS={KERNEL_SETS.index(target.kernels)}"
    built = parts_of_image(image.content).mask
    return f"""/* {shown}, compiled by edge-ad for {target.name} ({target.kernels} kernels).
 *
 * Compile all .c files below this folder with {flags} and, so that nothing but this model's operators
 * is linked, -DEDGE_BUILT={built:#x}ull -ffunction-sections -Wl,--gc-sections. What an integer stands for:
 * scale * (integer - zero point).
 *
 *     #include "model.h"
 *     _Alignas(EDGE_ALIGNMENT) static uint8_t arena[MODEL_ARENA_BYTES];
 *     edge_model model;
 *     if (edge_load(&model, model_image, MODEL_IMAGE_BYTES, arena, MODEL_ARENA_BYTES) != EDGE_OK) ...
 *     memcpy(edge_input(&model, 0), values, MODEL_{names[0].upper()}_BYTES);
 *     edge_invoke(&model);
 *     memcpy(results, edge_output(&model, 0), MODEL_{output_names[0].upper()}_BYTES);
 *
 * The arena may be shared with other code between one inference and writing the next one's inputs.
 */
#ifndef MODEL_H
#define MODEL_H

#include "engine/edge_engine.h"

#if EDGE_KERNELS != {KERNEL_SETS.index(target.kernels)}
#error "this model is packed for {target.kernels} kernels: compile with {flags}"
#endif

#define MODEL_IMAGE_BYTES {len(image.content)}u
#define MODEL_ARENA_BYTES {image.plan.size}u
#define MODEL_MACS {image.macs}u

{defines}

extern const unsigned char model_image[MODEL_IMAGE_BYTES];

#endif
"""


def _port(label: str, port: PortSpec) -> Iterator[str]:
    prefix = f"MODEL_{label.upper()}"
    yield f"/* {label}: shape ({', '.join(map(str, port.shape))}), {port.dtype} */"
    yield f"#define {prefix}_BYTES {port.nbytes}u"
    yield f"#define {prefix}_SCALE {port.scale!r}f"
    yield f"#define {prefix}_ZERO_POINT ({port.zero_point})"
