import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.teacher import (
    load_teacher,
    random_dct_pdn,
    state_sha256,
)
from edge_ad.errors import ModelError

WIDTHS, CHANNELS = (4, 6, 6), 8
SEQUENTIAL = {"conv1": "0", "conv2": "3", "conv3": "6", "conv4": "8"}


@pytest.fixture
def pdn():
    torch.manual_seed(5)
    return PDN(WIDTHS, CHANNELS)


def as_sequential(pdn):
    """The layout of a plain nn.Sequential of convolutions, ReLUs and pools."""
    pool = nn.AvgPool2d(2)
    return nn.Sequential(
        pdn.conv1, nn.ReLU(), pool, pdn.conv2, nn.ReLU(), pool, pdn.conv3, nn.ReLU(), pdn.conv4
    )


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


LAYOUTS = {
    "plain sequential": lambda p: as_sequential(p).state_dict(),
    "named": lambda p: p.state_dict(),
    "under a prefix": lambda p: {f"model.teacher.{k}": v for k, v in p.state_dict().items()},
    "nested in state_dict": lambda p: {"state_dict": as_sequential(p).state_dict(), "epoch": 3},
    "nested in pdn": lambda p: {"pdn": p.state_dict()},
    "beside a student": lambda p: (
        {f"teacher.{k}": v for k, v in p.state_dict().items()}
        | {f"student.{k}": torch.zeros_like(v) for k, v in p.state_dict().items()}
    ),
    "half precision": lambda p: p.half().state_dict(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_torch_files_load_in_every_known_layout(pdn, layout, tmp_path):
    path = tmp_path / "teacher_small.pth"
    torch.save(LAYOUTS[layout](pdn), path)
    loaded, info = load_teacher(path, WIDTHS, CHANNELS)
    assert same(loaded, pdn.float())
    assert info.layout == (
        "sequential" if "sequential" in layout or layout == "nested in state_dict" else "named"
    )


@pytest.mark.parametrize("layout", ["plain sequential", "named", "under a prefix"])
def test_safetensors_load_in_every_known_layout(pdn, layout, tmp_path):
    path = tmp_path / "teacher.safetensors"
    save_file({k: v.contiguous() for k, v in LAYOUTS[layout](pdn).items()}, path)
    assert same(load_teacher(path, WIDTHS, CHANNELS)[0], pdn)


def test_a_loaded_teacher_computes_what_the_published_network_computes(pdn, tmp_path):
    path = tmp_path / "t.pth"
    published = as_sequential(pdn)
    torch.save(published.state_dict(), path)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(load_teacher(path, WIDTHS, CHANNELS)[0](x), published(x))


def test_a_teacher_comes_frozen_and_in_evaluation_mode(pdn, tmp_path):
    torch.save(pdn.state_dict(), tmp_path / "t.pth")
    for source in (tmp_path / "t.pth", "random-dct"):
        loaded, _ = load_teacher(source, WIDTHS, CHANNELS)
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_the_digest_is_the_files_and_must_match_when_given(pdn, tmp_path):
    path = tmp_path / "t.pth"
    torch.save(pdn.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_teacher(path, WIDTHS, CHANNELS, sha256=digest.upper())[1].sha256 == digest
    with pytest.raises(ModelError, match=f"sha256 is {digest}, expected {'0' * 64}"):
        load_teacher(path, WIDTHS, CHANNELS, sha256="0" * 64)
    with pytest.raises(ModelError, match="expected"):
        load_teacher("random-dct", WIDTHS, CHANNELS, sha256="0" * 64)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


def write_module(path):
    torch.save(PDN(WIDTHS, CHANNELS), path)


def write_pickle(path):
    path.write_bytes(pickle.dumps(Harmful(path.parent / "made"), protocol=2))


def write_truncated(path):
    torch.save(PDN(WIDTHS, CHANNELS).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-900])


def write_medium(path):
    convs = {"0": (4, 3, 4, 4), "3": (6, 4, 4, 4), "6": (6, 6, 1, 1), "8": (6, 6, 3, 3), "10": (8, 6, 4, 4)}
    torch.save({f"{k}.weight": torch.zeros(s) for k, s in convs.items()}, path)


def write_nan(path):
    state = PDN(WIDTHS, CHANNELS).state_dict()
    state["conv3.bias"][1] = float("nan")
    torch.save(state, path)


BAD_FILES = {
    "a module pickled whole": (write_module, "could run code when loaded; refused"),
    "a harmful pickle": (write_pickle, "refused"),
    "a truncated file": (write_truncated, "truncated"),
    "an LFS pointer": (
        lambda p: p.write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:b98a\nsize 10779715\n"
        ),
        "is a Git LFS pointer, not the weights; .*git lfs pull",
    ),
    "a web page": (lambda p: p.write_bytes(b"\n <!DOCTYPE html>\n<html>Sign in</html>"), "is a web page"),
    "an empty file": (lambda p: p.write_bytes(b""), "is empty"),
    "noise": (lambda p: p.write_bytes(bytes(range(256)) * 20), "truncated or no torch weights file"),
    "the medium network": (
        write_medium,
        r"no PDN in a known layout \(holds 0.weight, 3.weight.*conv1..conv4",
    ),
    "another network": (lambda p: torch.save({"fc.weight": torch.zeros(2)}, p), "holds fc.weight"),
    "a list": (lambda p: torch.save([1, 2], p), "holds no tensor"),
    "two networks": (
        lambda p: torch.save({n: PDN(WIDTHS, CHANNELS).state_dict() for n in ("a", "b")}, p),
        "holds 2 networks and none is named teacher",
    ),
    "not a number": (write_nan, "'conv3.bias' holds values that are no finite numbers"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_is_one_clear_line(kind, tmp_path):
    write, message = BAD_FILES[kind]
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(ModelError, match=message) as caught:
        load_teacher(path, WIDTHS, CHANNELS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_loading_a_harmful_pickle_runs_nothing(tmp_path):
    path = tmp_path / "weights.pth"
    write_pickle(path)
    with pytest.raises(ModelError, match="refused"):
        load_teacher(path, WIDTHS, CHANNELS)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 64])
def test_a_broken_safetensors_file_is_an_error(content, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"is empty|no safetensors|known layout"):
        load_teacher(path, WIDTHS, CHANNELS)


def test_a_teacher_of_other_sizes_names_the_layer_and_both_shapes(pdn, tmp_path):
    path = tmp_path / "t.pth"
    torch.save(as_sequential(pdn).state_dict(), path)
    with pytest.raises(ModelError, match=r"'3\.weight' has shape \(6, 4, 4, 4\), .*needs \(7, 4, 4, 4\)"):
        load_teacher(path, (4, 7, 6), CHANNELS)


def test_an_unknown_name_lists_the_built_in_teachers():
    with pytest.raises(ModelError, match=r"no such teacher; .*random-dct"):
        load_teacher("imagenet", WIDTHS, CHANNELS)


def test_random_dct_is_the_same_on_every_call_and_needs_no_global_seed():
    torch.manual_seed(1)
    first, info = load_teacher("random-dct", (128, 256, 256), 384)
    torch.manual_seed(2)
    second, _ = load_teacher("random-dct", (128, 256, 256), 384)
    assert same(first, second) and info.sha256 == state_sha256(second)
    assert not same(random_dct_pdn(WIDTHS, CHANNELS, 1), random_dct_pdn(WIDTHS, CHANNELS, 2))


def test_random_dct_begins_with_orthonormal_cosines_of_both_signs():
    filters = random_dct_pdn((32, 4, 4), 4).conv1.weight.detach().flatten(1).numpy() / np.sqrt(2)
    np.testing.assert_array_equal(filters[0::2], -filters[1::2])
    np.testing.assert_allclose(filters[0::2] @ filters[0::2].T, np.eye(16), atol=2e-3)
    assert np.ptp(filters[0]) == 0  # the mean comes first
