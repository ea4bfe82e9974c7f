import numpy as np
import pytest

from mnnbio.training.data import load_task
from mnnbio.training.tables import load_table


def test_digits_are_split_once_and_for_all():
    task, again = load_task("digits"), load_task("digits")
    assert task.x_train.shape == (1347, 64)
    assert task.x_test.shape == (450, 64)
    assert task.x_train.min() == 0
    assert task.x_train.max() == 1
    np.testing.assert_array_equal(task.x_test, again.x_test)
    share = np.bincount(np.concatenate([task.y_train, task.y_test])) * 450 / 1797
    assert np.abs(np.bincount(task.y_test) - share).max() < 1
    assert task.kind == "classification"
    assert task.image_shape == (8, 8)


def test_unknown_task():
    with pytest.raises(
        ValueError, match=r"Invalid task 'digit'. Must be one of \['digits', 'mnist'\]; tables are read by"
    ):
        load_task("digit")


def write(path, text):
    path.write_text(text)
    return path


def flowers(n=20):
    rows = "\n".join(f"{k},{k * 0.5 - 3},{'red' if k % 2 else 'blue'},{'ab'[k % 2]}" for k in range(n))
    return f"length, width,colour,species\n{rows}\n"


def test_csv_with_text(tmp_path):
    task = load_table(write(tmp_path / "flowers.csv", flowers()), "species", test_fraction=0.2)
    assert task.name == "flowers"
    assert task.kind == "classification"
    assert task.class_names == ("a", "b")
    assert task.feature_names == ("length", "width", "colour=blue", "colour=red")
    assert len(task.x_test) == 4
    assert np.bincount(task.y_test).tolist() == [2, 2]
    x, y = np.vstack([task.x_train, task.x_test]), np.concatenate([task.y_train, task.y_test])
    order = np.argsort(x[:, 0])
    k = np.arange(20)
    np.testing.assert_array_equal(x[order], np.column_stack([k, k * 0.5 - 3, k % 2 == 0, k % 2 == 1]))
    np.testing.assert_array_equal(y[order], k % 2)


def test_the_seed_decides_the_split(tmp_path):
    path = write(tmp_path / "t.csv", flowers())
    splits = [load_table(path, "species", seed=seed).x_test for seed in (0, 0, 1)]
    np.testing.assert_array_equal(splits[0], splits[1])
    assert not np.array_equal(splits[0], splits[2])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1] * 10, "classification"),
        ([0.5, 1.5] * 10, "regression"),
        (list(range(40)), "regression"),
        (["yes", "no"] * 10, "classification"),
        ([True, False] * 10, "classification"),
    ],
)
def test_kind_is_inferred(tmp_path, values, kind):
    text = "x,y\n" + "\n".join(f"{k},{value}" for k, value in enumerate(values))
    task = load_table(write(tmp_path / "t.csv", text), "y")
    assert task.kind == kind
    assert bool(task.class_names) is (kind == "classification")


def test_kind_can_be_given(tmp_path):
    path = write(tmp_path / "t.csv", "x,y\n" + "\n".join(f"{k},{k % 3}" for k in range(30)))
    assert load_table(path, "y", kind="regression").kind == "regression"


def test_npz(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.savez(tmp_path / "t.npz", pixels=x, extra=x[:, 0] ** 2, label=np.arange(20) % 2)
    task = load_table(tmp_path / "t.npz", "label")
    assert task.feature_names == ("pixels_0", "pixels_1", "pixels_2", "extra")
    np.testing.assert_array_equal(task.x_train[:, 0] ** 2, task.x_train[:, 3])


BIG = "name,y\n" + "\n".join(f"n{k},{k % 2}" for k in range(60))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (flowers(), {"target": "spezies"}, r"has no column 'spezies'; did you mean 'species'\?"),
        (flowers(), {"target": "qqq"}, r"has no column 'qqq'; its columns are \['length', "),
        (flowers(), {"target": "species", "kind": "cluster"}, "Invalid value 'cluster' for `kind`. Must be one of"),
        (flowers(), {"target": "species", "test_fraction": 1.0}, r"`test_fraction` must be in \(0, 1\), got 1.0"),
        (flowers(), {"target": "species", "kind": "regression"}, "must be numbers for a regression, got 'a'"),
        (flowers(4), {"target": "species"}, "is too small to be split"),
        (
            flowers().replace("\n3,", "\n,"),
            {"target": "species"},
            "missing value in row 4, column 'length'; drop or fill",
        ),
        (flowers().replace("\n3,", "\ninf,"), {"target": "species"}, "infinite value in row 4, column 'length'"),
        (
            flowers().replace("3,-1.5,red,b", "3,-1.5,red,"),
            {"target": "species"},
            "'species' of .* is missing in row 4",
        ),
        (flowers().replace(",b\n", ",a\n"), {"target": "species"}, "must have at least two classes, got only 'a'"),
        ("x,y\n1,inf\n2,1.5\n", {"target": "y"}, "must be finite, got an infinite value in row 1"),
        ("x,y\n", {"target": "y"}, "has no rows"),
        ("y\n1\n2\n", {"target": "y"}, "has no column besides the target 'y'"),
        (BIG, {"target": "y"}, "column 'name' of .* is text with 60 different values"),
        ("", {"target": "y"}, "cannot be read as CSV: it is empty"),
        ('a,b\n"1,2\n', {"target": "b"}, "cannot be read as CSV"),
    ],
)
def test_bad_tables(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        load_table(write(tmp_path / "t.csv", text), **options)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing.csv"):
        load_table(tmp_path / "nothing.csv", "y")
    with pytest.raises(ValueError, match=r"must be a .csv or .npz file, got .*t.txt"):
        load_table(write(tmp_path / "t.txt", "x"), "y")
    with pytest.raises(ValueError, match="cannot be read as NPZ"):
        load_table(write(tmp_path / "t.npz", "no archive"), "y")
    np.savez(tmp_path / "o.npz", x=np.array([{}, {}], dtype=object), y=np.arange(2))
    with pytest.raises(ValueError, match="cannot be read as NPZ: Object arrays cannot be loaded"):
        load_table(tmp_path / "o.npz", "y")
    np.savez(tmp_path / "s.npz", x=np.zeros((3, 2)), y=np.arange(2))
    with pytest.raises(ValueError, match=r"must be \(n,\) or \(n, k\) with one n, got \{'x': \(3, 2\), 'y': \(2,\)\}"):
        load_table(tmp_path / "s.npz", "y")
