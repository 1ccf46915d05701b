"""What self-contained pages share: figures keep the digits shown, JSON cannot break out."""

import base64
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.errors import UsageError
from palate.report import page as parts
from seen_cases import unpack


@given(st.floats(-1e6, 1e6, allow_nan=False))
def test_packed_figures_are_the_shown_digits(value: float) -> None:
    assert unpack(parts.packed([value])) == [float(f"{value:.2e}") if abs(value) >= 1e-23 else 0.0]


@pytest.mark.parametrize("value", [1.245, 1.235, 0.125, 2.5e-3, 9.995, 99.95, 0.9995, 1000.0, 1e-9])
def test_ties_and_powers_of_ten(value: float) -> None:
    assert unpack(parts.packed([value, -value])) == [float(f"{s}{value:.2e}") for s in ("", "-")]
    assert parts.shown(parts.compact(value)) == parts.shown(value)


@given(st.floats(-1e6, 1e6, allow_nan=False))
def test_five_digits_are_shown_as_all_would_be(value: float) -> None:
    assert parts.shown(parts.compact(value)) == parts.shown(value)


def test_no_number_stays_no_number() -> None:
    codes = np.frombuffer(base64.b64decode(parts.packed([math.nan, math.inf, None, 1e12])), "<u2")
    assert codes.tolist() == [0x7FFF] * 4
    assert parts.compact(math.inf) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0612, "−0.0612"), (0.1, "0.100"), (-143.27, "−143"), (999.96, "1000"),
     (12345.6, "12300"), (0.00012345, "0.000123"), (0.000012345, "1.23e−5"), (None, "–")],
)  # fmt: skip
def test_how_a_figure_is_shown(value: float | None, text: str) -> None:
    assert parts.shown(value) == text


@given(st.text())
def test_embedded_json_reads_back_and_opens_no_element(text: str) -> None:
    found = parts.embedded({"text": text})
    assert not set(found) & set("<>&\u2028\u2029")
    assert json.loads(found) == {"text": text}


def test_indices_are_two_bytes_or_four() -> None:
    assert np.frombuffer(
        base64.b64decode(parts.indices([1, 65535], wide=False)), "<u2"
    ).tolist() == [1, 65535]
    assert np.frombuffer(base64.b64decode(parts.indices([70000], wide=True)), "<u4").tolist() == [
        70000
    ]


def test_the_policy_names_the_hashes_of_style_and_script() -> None:
    """The digest of the empty text, as every implementation of SHA-256 gives it."""
    empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    told = parts.policy("", "")
    assert told.startswith("default-src 'none'") and told.count(empty) == 2


def test_a_page_overwrites_pages_and_nothing_else(tmp_path: Path) -> None:
    old, notes = tmp_path / "old.html", tmp_path / "notes.txt"
    parts.save("<!doctype html><p>one", old)
    parts.save("<!doctype html><p>two", old)
    assert old.read_text().endswith("two")
    notes.write_text('{"prompt": "by hand"}')
    with pytest.raises(UsageError, match="is no page"):
        parts.save("<!doctype html>", notes)
    with pytest.raises(UsageError, match="is a folder"):
        parts.save("<!doctype html>", tmp_path)
    assert notes.read_text() == '{"prompt": "by hand"}'
