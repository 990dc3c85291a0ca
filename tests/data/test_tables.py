"""The CSV reader: what it reads, and how it refuses what it cannot."""

import csv
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import data


@pytest.fixture
def write(tmp_path):
    def _write(content, name="표.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def test_columns_come_by_name_and_in_the_order_asked_for(write):
    path = write('date,"기온, 최고",wind\r\n2020-01-01,1.5,2\r\n2020-01-02,-3e-1, 4 \r\n')
    values = data.read_csv(path, ["wind", "기온, 최고"])
    assert values.dtype == np.float64
    assert values.tolist() == [[2.0, 1.5], [4.0, -0.3]]
    assert data.read_csv(path, "wind").tolist() == [[2.0], [4.0]]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("\ufeff기온,x\n1,2\n", {}),
        ("기온,x\n1,2\n\n\n", {}),
        (" 기온 ,x\n1,2", {}),
        ("기온;x\n1;2\n", {"delimiter": ";"}),
        ("기온\tx\n1\t2\n", {"delimiter": "\t"}),
        ("기온,x\n1,2\n".encode("cp949"), {"encoding": "cp949"}),
        ("기온,x\n1,2\n".encode("utf-16"), {"encoding": "utf-16"}),
        ("기온,x\n1,2\n".encode("utf-16"), {}),
        ("\ufeff기온,x\n1,2\n".encode("utf-16-be"), {}),
    ],
)
def test_marks_blank_ends_delimiters_and_encodings(write, content, options):
    assert data.read_csv(write(content), "기온", **options).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n1,2\n,4\n", "row 3, column 'a': the value is missing; fill the gap"),
        ("a,b\n1,2\n  ,4\n", "row 3, column 'a': the value is missing"),
        ("a,b\nx1,2\n", "row 2, column 'a': 'x1' is no finite number"),
        ("a,b\nnan,2\n", "row 2, column 'a': 'nan' is no finite number; fill the gap"),
        ('a,b\n"100,5",2\n', "'100,5' is no finite number; write numbers as 1234.5, with a point"),
        ("a,b\n1'000,2\n", "is no finite number; write numbers as 1234.5"),
        ("a,b\n" + 500 * "x" + ",2\n", "x...x"),
        ("a,b\n" + 100 * "\0" + ",2\n", "has NUL characters: it is no text, or UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16 without a byte order mark, whose encoding is utf-16-le"),
        (",".join(f"c{k}" for k in range(300)) + "\n", "'c18', 'c19' and 280 more"),
        ("a,b\n-inf,2\n", "row 2, column 'a': '-inf' is no finite number"),
        ("a,b\n1e999,2\n", "row 2, column 'a': '1e999' is no finite number"),
        ("a,b\n1_000,2\n", "row 2, column 'a': '1_000' is no finite number"),
        ('a,b\n"1,000",2\n', "row 2, column 'a': '1,000' is no finite number"),
        ("a,b\n1,2\n3\n", "row 3: 1 fields, but the header has 2 ('a', 'b')"),
        ("a,b\n1,2,3\n", "row 2: 3 fields, but the header has 2 ('a', 'b')"),
        ("a,b\n1,2\n\n3,4\n", "row 3: the row is empty, and more rows follow"),
        ("b,c\n1,2\n", "has no column 'a'; its columns are 'b', 'c'"),
        ("a;b\n1;2\n", "its columns are 'a;b' (is the file's delimiter a semicolon?)"),
        ("a,b,a\n1,2,3\n", "has 2 columns named 'a'"),
        ('a,b\n1,"2\n', "row 2: unexpected end of data"),
        ('a,b\n"1"x,2\n', "row 2: ',' expected after '\"'"),
        ("a,기\n1,2\n".encode("cp949"), "is not UTF-8 text"),
    ],
)
def test_refusals_say_where(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        data.read_csv(path, "a")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 420 + len(str(path))


def test_rows_are_counted_as_spreadsheets_count_them(write):
    path = write('a,text\n1,"two\nlines"\n?,x\n')
    with pytest.raises(ValueError, match="row 3, column 'a'"):
        data.read_csv(path, "a")


def test_wrong_options_and_no_file(write, tmp_path):
    path = write("a\n1\n")
    with pytest.raises(ValueError, match="at least one column"):
        data.read_csv(path, [])
    with pytest.raises(ValueError, match="one character"):
        data.read_csv(path, "a", delimiter="")
    with pytest.raises(ValueError, match="unknown encoding 'klingon'"):
        data.read_csv(path, "a", encoding="klingon")
    with pytest.raises(FileNotFoundError):
        data.read_csv(tmp_path / "none.csv", "a")


@given(
    st.lists(
        st.tuples(
            *[st.floats(allow_nan=False, allow_infinity=False)] * 2, st.text("ab\n,\"' 가", max_size=5)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_the_standard_library_writes_is_read_back_bit_by_bit(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("x", "y", "text"), *rows])
    np.testing.assert_array_equal(data.read_csv(path, ["y", "x"]), [(y, x) for x, y, _ in rows])
