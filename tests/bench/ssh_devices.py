"""Three sshd processes of this machine, each a device, flashed at once: the tables of docs/results.md.

    python tests/bench/ssh_devices.py old.edgead new.edgead --target onnx-cpu

All three get the old bundle. The new one then goes to all of them in one command, while the third device computes
something else than the host that compiled; and a copy of it whose golden vectors were altered on purpose (all digests
in order) goes to the third. Prints the commands with their output and exit status, and what is live in the end.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import sshd

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.manifest import FileEntry
from edge_ad.runtime.golden import npz_bytes

_ODD = """
from edge_ad.runtime.engines.onnxruntime import OnnxRuntimeEngine as E
right = E.infer
E.infer = lambda self, batch: {name: value + 1 for name, value in right(self, batch).items()}
"""


def altered(source: Path, path: Path, target: str) -> None:
    """A bundle whose golden vectors for one payload are not those of its network."""
    with open_bundle(source) as bundle:
        members = {name: bundle.read(name) for name in bundle.manifest.files}
        payload = bundle.manifest.payload(target)
        golden = np.load(io.BytesIO(members[payload.golden.file]))
        arrays = {key: golden[key] for key in golden.files}
        arrays[payload.outputs[0]] = arrays[payload.outputs[0]] + np.float32(1)
        members[payload.golden.file] = npz_bytes(arrays)
        entries = {
            n: FileEntry(sha256=hashlib.sha256(c).hexdigest(), size=len(c)) for n, c in members.items()
        }
        manifest = bundle.manifest.model_copy(update={"files": entries})
    write_bundle(path, manifest, members)


def live(device: sshd.Device) -> str:
    """What a device runs."""
    return (device.root / "current").readlink().name[:12]


@click.command(help=__doc__.splitlines()[0])
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@click.option("--target", default="onnx-cpu", show_default=True, help="One that ONNX Runtime runs.")
def main(old: Path, new: Path, target: str) -> None:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="ssh-")))
        identity, known_hosts = sshd.keys(folder), folder / "known_hosts"
        devices = [
            opened.enter_context(sshd.running(folder / n, identity, known_hosts)) for n in ("a", "b", "c")
        ]
        plain = sshd.wrapper(folder / "edge-ad")
        (folder / "odd").mkdir()
        (folder / "odd" / "sitecustomize.py").write_text(_ODD)
        mixed = sshd.wrapper(folder / "mixed")
        case = f'case "$*" in *{devices[2].root}*) PYTHONPATH={folder / "odd"}:$PYTHONPATH;; esac\nexec'
        mixed.write_text(mixed.read_text().replace("exec", case))
        altered(new, folder / "altered.edgead", target)

        def flash(bundle: Path, command: Path, *to: sshd.Device) -> None:
            words = ["flash", bundle, "--target", target, "--remote-command", command]
            words += [word for device in to for word in ("--to", device.address)]
            done = subprocess.run(
                [sys.executable, "-m", "edge_ad", *map(str, words)], text=True, capture_output=True, check=False,
                env={**os.environ, "EDGE_AD_SSH": sshd.client(identity, known_hosts), "COLUMNS": "200"},
            )  # fmt: skip
            errors = "\n".join(line for line in done.stderr.splitlines() if line.startswith("error"))
            told = (done.stdout + errors).replace(str(folder), "")
            print(
                f"$ edge-ad flash {bundle.name} … to {len(to)}\n{told}\nexit status {done.returncode}\n",
                flush=True,
            )

        flash(old, plain, *devices)
        flash(new, mixed, *devices)
        flash(folder / "altered.edgead", plain, devices[2])
        print("live in the end: " + ", ".join(live(device) for device in devices))


if __name__ == "__main__":
    main()
