"""Tables as people have them: what is read, and what is refused with its line and cause."""

import numpy as np
import pandas as pd
import pytest

from mnnbio.training import TableWarning, load_table

ROWS = [(0.5 * k, 3.25 - k, "yes" if k % 2 else "no") for k in range(20)]
PLAIN = "a,b,cls\n" + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS)


def table(folder, text, name="t.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def values(task):
    """Return features and class names of all rows, in the order of the first feature."""
    x, y = np.vstack([task.x_train, task.x_test]), np.concatenate([task.y_train, task.y_test])
    order = np.argsort(x[:, 0])
    return x[order], [task.class_names[k] for k in y[order]]


def with_commas(text, separator):
    return text.replace(",", separator).replace(".", ",")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (PLAIN, {}),
        (PLAIN.replace(",", ";"), {}),
        (PLAIN.replace(",", "\t"), {}),
        (PLAIN.replace(",", "\t"), {"name": "t.TSV"}),
        (with_commas(PLAIN, ";"), {}),
        (with_commas(PLAIN, "\t"), {}),
        (PLAIN, {"encoding": "utf-8-sig"}),
        (PLAIN, {"encoding": "utf-16"}),
        (PLAIN.replace("\n", "\r\n"), {}),
        (PLAIN.replace("\n", "\r"), {}),
        (PLAIN + "\n\n", {}),
        (PLAIN.replace("a,b,cls", " a , b , cls "), {}),
        (PLAIN.replace(",", " , "), {}),
        (PLAIN.replace(",yes\n", ",yes \n", 3), {}),
        (PLAIN.replace(",yes\n", ",\u00a0yes\n", 3), {}),
        (PLAIN.replace(",yes\n", ",yes\u200b\n", 3), {}),
        ('"a","b","cls"\n' + PLAIN.split("\n", 1)[1].replace("no", '"no"'), {}),
        (PLAIN.replace("a,b,cls", "a,b,cls").replace("0.5,", '"0.5",', 1), {}),
    ],
)
def test_one_table_in_many_forms(tmp_path, text, options):
    task = load_table(table(tmp_path, text, **options), "cls")
    x, labels = values(task)
    assert task.feature_names == ("a", "b")
    assert task.class_names == ("no", "yes")
    np.testing.assert_array_equal(x, [[a, b] for a, b, _ in ROWS])
    assert labels == [c for *_, c in ROWS]


@pytest.mark.parametrize("label", ["None", "NA", "null", "nan", "n/a", "-"])
def test_labels_that_pandas_takes_for_missing_are_labels(tmp_path, label):
    task = load_table(table(tmp_path, PLAIN.replace(",no\n", f",{label}\n")), "cls")
    assert task.class_names == tuple(sorted([label, "yes"]))
    assert values(task)[1] == [label if c == "no" else c for *_, c in ROWS]


def test_categories_that_pandas_takes_for_missing_are_categories(tmp_path):
    text = "alley,b,cls\n" + "".join(f"{'NA' if k % 3 else 'paved'},{b},{c}\n" for k, (_, b, c) in enumerate(ROWS))
    assert load_table(table(tmp_path, text), "cls").feature_names == ("alley=NA", "alley=paved", "b")


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1"])
def test_the_row_numbers_of_pandas_are_left_out_with_a_warning(tmp_path, name):
    text = f"{name}," + "".join(f"{line}\n" if k == 0 else f"{k - 1},{line}\n" for k, line in enumerate(PLAIN.split()))
    with pytest.warns(TableWarning, match="column 1 of .* is left out: it .* Write tables with index=False") as caught:
        task = load_table(table(tmp_path, text), "cls")
    assert task.feature_names == ("a", "b")
    assert caught[0].filename == __file__


def test_the_index_of_a_data_frame_is_left_out(tmp_path):
    pd.DataFrame(ROWS, columns=["a", "b", "cls"]).sort_values("cls").to_csv(tmp_path / "t.csv")
    with pytest.warns(TableWarning, match="it has no name and holds the row numbers"):
        assert load_table(tmp_path / "t.csv", "cls").feature_names == ("a", "b")


def test_labels_that_differ_in_capitals_only_are_warned_of(tmp_path):
    text = PLAIN.replace(",yes\n", ",Yes\n", 4)
    with pytest.warns(TableWarning, match="has the labels 'Yes' and 'yes', which differ in capitals only"):
        assert load_table(table(tmp_path, text), "cls").class_names == ("Yes", "no", "yes")


WIDER = "".join(f"{str(a).replace('.', ',')},{str(b).replace('.', ',')},{c}\n" for a, b, c in ROWS)
BODY = PLAIN.split("\n", 1)[1]
BAD = [
    ("a,b,cls\n" + WIDER, "line 2 of .* has 5 fields, the header 3: decimal commas need quotes, or semicolons between"),
    ("a,b,cls\n" + BODY.replace("\n", ",1\n"), "line 2 of .* has 4 fields, the header 3"),
    ("a,b,cls\n" + BODY.replace("\n", ",\n"), "has 4 fields, the header 3: remove the commas at the ends of the rows"),
    (PLAIN + "1,2,3,4\n", "line 22 of .* has 4 fields, the header 3"),
    (PLAIN + "1,2\n", "line 22 of .* has 2 fields, the header 3: fields are missing"),
    (PLAIN.replace(",", ";") + "1;2;yes;4\n", "line 22 of .* fields that contain semicolons need quotes"),
    ("# by hand\n" + PLAIN, "line 2 of .* has 3 fields, the header 1: the first line must name the columns"),
    ("".join(f"{k},{line}\n" if k else line + "\n" for k, line in enumerate(PLAIN.split())), "row names need a name"),
    ("a,b,cls,\n" + BODY.replace("\n", ",\n"), "column 4 of .* has no name in the header"),
    ("a,,cls\n" + BODY, "column 2 of .* has no name in the header"),
    ("a,a,cls\n" + BODY, "two columns of the name 'a'; rename one of them"),
    ("a, a ,cls\n" + BODY, "two columns of the name 'a'"),
    ("cls,b,cls\n" + BODY, "two columns of the name 'cls'"),
    (PLAIN.replace("0.5,", "?,", 1), r"column 'a' of .* has numbers, and '\?' in row 2; replace it, or drop such rows"),
    (PLAIN.replace("0.5,", '"0,5",', 1), "column 'a' of .* has numbers, and '0,5' in row 2"),
    (PLAIN.replace("0.5,", ",", 1), "missing value in row 2, column 'a'; drop or fill"),
    (PLAIN.replace("0.5,", "NA,", 1), "missing value in row 2, column 'a'"),
    (PLAIN.replace("0.5,", "inf,", 1), "infinite value in row 2, column 'a'"),
    (PLAIN.replace(",yes\n", ",\n", 1), "target 'cls' of .* is missing in row 2"),
    (PLAIN.replace(",yes\n", ", \u00a0\n", 1), "target 'cls' of .* is missing in row 2"),
    (PLAIN.replace(",yes\n", ",rare\n", 1), "must have at least two rows, to train and to test, got one of 'rare'"),
    (PLAIN.replace("yes", "no"), "must have at least two classes, got only 'no'"),
    ('a,b,cls\n"1,2,no\n' + BODY, "cannot be read as CSV"),
    ("\n\n", "cannot be read as CSV: it is empty"),
    (PLAIN + ",,\n", "missing value in row 21|is missing in row 21"),
    (
        "a,b,cls\n" + "".join(f'"{1 + k},000",{b},{c}\n' for k, (_, b, c) in enumerate(ROWS)),
        "column 'a' of .* has numbers with commas, got '1,000' in row 1; write them with points",
    ),
    (PLAIN.replace("\n", ";\n"), "has no column 'cls'"),
    ("x" * 200_000 + ",cls\n1,2\n", "cannot be read as CSV: field larger than field limit"),
    (
        ",".join(f"f{k}" for k in range(300)) + "\n",
        r"has no column 'cls'; its columns are \['f0', .*…\] \(300 in all\)",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
@pytest.mark.filterwarnings("ignore::mnnbio.training.TableWarning")
def test_what_is_no_table_is_refused_with_its_cause(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_table(table(tmp_path, text), "cls")
    assert len(str(caught.value).splitlines()) <= 4
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_another_encoding_is_named_with_its_line(tmp_path):
    path = table(tmp_path, PLAIN.replace(",yes\n", ",größer\n", 2), encoding="latin-1")
    with pytest.raises(ValueError, match="byte 0xf6 in line 3 is not UTF-8; save it as UTF-8"):
        load_table(path, "cls")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((20, 2)) * 1j}, "'x' in .* must hold real numbers or text, got complex128"),
        ({"x": np.arange(20).astype("datetime64[s]")}, "must hold real numbers or text, got datetime64"),
        ({"x": np.ones((20, 2)), "x_1": np.ones(20)}, "two columns of the name 'x_1'; rename one of the arrays"),
        ({"x": np.ones((20, 2, 2))}, r"must be \(n,\) or \(n, k\) with one n"),
        ({"x": np.full((20, 2), np.nan)}, "missing value in row 1, column 'x_0'"),
    ],
)
def test_arrays_that_make_no_table_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", cls=np.arange(20) % 2, **arrays)
    with pytest.raises(ValueError, match=message):
        load_table(tmp_path / "t.npz", "cls")


@pytest.mark.parametrize("labels", [np.array(["no", "yes"] * 10)[:, None], np.array([b"no ", b"yes"] * 10)])
def test_labels_in_arrays_are_text_without_spaces(tmp_path, labels):
    np.savez(tmp_path / "t.npz", x=np.arange(40).reshape(20, 2), y=labels)
    assert load_table(tmp_path / "t.npz", "y").class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"target": 3}, TypeError, "`target` must be the name of a column, got 3"),
        ({"test_fraction": "0.5"}, ValueError, r"`test_fraction` must be in \(0, 1\), got '0.5'"),
        ({"test_fraction": True}, ValueError, r"`test_fraction` must be in \(0, 1\), got True"),
        ({"test_fraction": float("nan")}, ValueError, r"`test_fraction` must be in \(0, 1\), got nan"),
        ({"seed": -1}, ValueError, "`seed` must be a whole number from 0"),
        ({"seed": 1.5}, ValueError, "`seed` must be a whole number from 0"),
        ({"seed": 2**32}, ValueError, "`seed` must be a whole number from 0"),
        ({"kind": True}, ValueError, "Invalid value True for `kind`"),
        ({"kind": "regression"}, ValueError, "must be numbers for a regression, got 'no'"),
    ],
)
def test_wrong_options_of_a_table_are_refused(tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        load_table(table(tmp_path, PLAIN), **{"target": "cls", **options})
