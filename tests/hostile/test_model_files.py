"""Small files of weights that ask for gigabytes: each is an error before the memory is asked for."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from converters.foreign.external_data import merge_data
from converters.foreign.nets import OnnxNet
from converters.foreign.originals import arrays_of
from edge.errors import BundleError, ContractError
from trainer.models.keras_file import refuse_bombs
from trainer.models.torch_file import read_tensors

_MAGIC = 0x1950A86A20F9469CFC6C


def torch_file(views: bytes, storages: bytes = b"") -> bytes:
    """Write the pickles that precede a file's tensors, the given one, its keys, and storages."""
    head = b"".join(pickle.dumps(part, 2) for part in (_MAGIC, 1001, {}))
    return head + views + pickle.dumps(["0"], 2) + storages


def _numbers(values: tuple[int, ...]) -> str:
    return "".join(f"I{value}\n" for value in values)


def view(shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Write a dictionary of one tensor on storage 0, as torch.save does it."""
    text = (
        "(dp0\nS'w'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI2\nNtQ"
        f"I0\n({_numbers(shape)}t({_numbers(strides)}tI00\n(dtRs."
    )
    return text.encode()


FOUR_GB = 0xFFFFFFFF
TORCH = {
    "a storage of 4 GB": torch_file(view((2,), (1,)), struct.pack("<q", FOUR_GB // 4) + bytes(8)),
    "a storage of less than nothing": torch_file(view((2,), (1,)), struct.pack("<q", -1) + bytes(8)),
    "a tensor of 4 GB by a stride of 0": torch_file(view((FOUR_GB // 4,), (0,)), struct.pack("<q", 2) + bytes(8)),
    "a memo of 4 GB": b"\x80\x02K\x01r" + struct.pack("<I", FOUR_GB) + b"." + bytes(290),
    "a frame of 4 GB": b"\x80\x04\x95" + struct.pack("<Q", FOUR_GB) + b"K\x01." + bytes(290),
    "bytes of 4 GB": b"\x80\x04\x8e" + struct.pack("<Q", FOUR_GB) + b"." + bytes(290),
    "a text of 4 GB": b"\x80\x04\x8d" + struct.pack("<Q", FOUR_GB) + b"." + bytes(290),
}


@pytest.mark.parametrize("name", TORCH)
def test_a_torch_file_asks_for_no_more_than_it_holds(tmp_path: Path, name: str) -> None:
    """Of some 300 bytes, each is refused."""
    path = tmp_path / "w.pth"
    path.write_bytes(TORCH[name])
    with pytest.raises(BundleError, match=r"w\.pth cannot be read as weights"):
        read_tensors(path)


def h5_of(shape: tuple[int, ...]) -> bytes:
    """Write an HDF5 file whose dataset is declared and never filled."""
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        weights.create_dataset("w", shape, "f4", chunks=True)
    return file.getvalue()


def keras_file(path: Path, config: bytes, weights: bytes) -> Path:
    """Write a .keras archive, packed as tightly as zip can."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    return path


def test_a_keras_file_unfolds_into_no_more_than_weights_may(tmp_path: Path) -> None:
    """200 MB of zeros in 200 KB, and 4 GB of weights that are declared alone, are refused. An ordinary file is not."""
    bomb = keras_file(tmp_path / "bomb.keras", bytes(200_000_000), b"")
    assert bomb.stat().st_size < 300_000
    with pytest.raises(ValueError, match="unfolds into 200,000,000"):
        refuse_bombs(bomb)
    hollow = keras_file(tmp_path / "hollow.keras", b"{}", h5_of((1000, 1000, 1000)))
    with pytest.raises(ValueError, match="its weights would take 4,000,000,000 bytes"):
        refuse_bombs(hollow)
    (tmp_path / "hollow.h5").write_bytes(h5_of((1000, 1000, 1000)))
    with pytest.raises(ValueError, match="its weights would take"):
        refuse_bombs(tmp_path / "hollow.h5")
    refuse_bombs(keras_file(tmp_path / "good.keras", b"{}", h5_of((100, 100))))


def test_an_onnx_file_of_3_gb_is_refused_unread(tmp_path: Path) -> None:
    """By its size, before any of it is in memory: as a net, and where its weights are to be merged."""
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    for opened in (lambda: OnnxNet(path, None), lambda: merge_data(path)):
        with pytest.raises(ContractError, match=r"has 3\.0 GB: expected a model of at most 1\.1 GB"):
            opened()


def test_a_reference_unfolds_into_no_more_than_answers_may(tmp_path: Path) -> None:
    """An .npz of some hundred bytes that says that it holds 3 GB is refused before it is unfolded."""
    path = tmp_path / "outputs.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("outputs.npy", bytes(8))
        archive.filelist[0].file_size = 3 << 30
    with pytest.raises(ContractError, match=r"unfolds into 3\.2 GB"):
        arrays_of(path)
