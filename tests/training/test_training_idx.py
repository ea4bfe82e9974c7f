import gzip
import struct

import numpy as np
import pytest

from mnnbio.training.data import load_task, read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array):
    """Return an array in the IDX format, written from its description."""
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, n=(12, 6), compress=False, change=None):
    """Write a small data set in the form of MNIST; `change` replaces files by name. Return its arrays."""
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, count in zip(("train", "t10k"), n, strict=True):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, array in arrays.items():
        content = (change or {}).get(name, idx_bytes(array))
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(content) if compress else content)
    return arrays


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4)])
def test_arrays_of_every_type(tmp_path, dtype, shape):
    array = (np.arange(np.prod(shape)) - (0 if dtype == "uint8" else 3)).reshape(shape).astype(dtype)
    (tmp_path / "array").write_bytes(idx_bytes(array))
    read = read_idx(tmp_path / "array")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


@pytest.mark.parametrize("compress", [False, True])
def test_mnist_files(tmp_path, compress):
    arrays = write_mnist(tmp_path, compress=compress)
    task = load_task("mnist", tmp_path)
    np.testing.assert_allclose(task.x_train * 255, arrays["train-images-idx3-ubyte"].reshape(12, -1), rtol=1e-6)
    np.testing.assert_array_equal(task.y_test, arrays["t10k-labels-idx1-ubyte"])
    assert task.image_shape == (28, 28)
    assert task.feature_names[29] == "pixel_1_1"
    assert task.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file: expected a magic number 0x0000TTDD .* got an empty file"),
        (b"PNG etc", "is not an IDX file: .* got 0x504e4720"),
        (bytes([0, 0, 0x07, 1, 0, 0, 0, 0]), "is not an IDX file: .* got 0x00000701"),
        (bytes([0, 0, 0x08, 3, 0, 0]), "is truncated: its header has 16 bytes, the file 6"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:-1], r"is truncated: \(2, 3\) values need 18 bytes, the file has 17"),
        (idx_bytes(np.zeros((2, 3), np.uint8)) + b"x", r"is too long: \(2, 3\) values need 18 bytes, the file has 19"),
        (gzip.compress(b"\0" * 1000, mtime=0)[:-9], "is a damaged gzip file"),
        (b"\x1f\x8b" + b"\0" * 20, "is a damaged gzip file"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(ValueError, match=f"broken {message}"):
        read_idx(tmp_path / "broken")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; `data_dir` must be"):
        load_task("mnist", tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz is in"
    ):
        load_task("mnist", tmp_path)
    with pytest.raises(ValueError, match="the task 'mnist' needs `data_dir`"):
        load_task("mnist")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "train-images-idx3-ubyte",
            np.zeros((12, 8, 8), np.uint8),
            r"must hold uint8 images \(n, 28, 28\), got uint8 \(12, 8, 8\)",
        ),
        (
            "t10k-images-idx3-ubyte",
            np.zeros((0, 28, 28), np.uint8),
            r"must hold uint8 images .* got uint8 \(0, 28, 28\)",
        ),
        (
            "train-labels-idx1-ubyte",
            np.zeros(11, np.uint8),
            r"must hold one uint8 label per image \(12\), got uint8 \(11,\)",
        ),
        ("t10k-labels-idx1-ubyte", np.full(6, 10, np.uint8), "must hold labels from 0 to 9, got 10"),
    ],
)
def test_files_of_another_shape(tmp_path, name, array, message):
    write_mnist(tmp_path, change={name: idx_bytes(array)})
    with pytest.raises(ValueError, match=f"{name} {message}"):
        load_task("mnist", tmp_path)
