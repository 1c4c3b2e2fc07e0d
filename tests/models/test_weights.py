import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from models.weights import Storage, pack, quantize_rows, unpack

matrices = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
)


@given(matrices)
def test_eight_bits_a_weight_err_by_half_a_scale_at_most(matrix: NDArray[np.float32]) -> None:
    integers, scales = quantize_rows(matrix)
    error = np.abs(integers * scales[:, None] - matrix)
    # Rounding in float32 adds a little to the half scale of exact arithmetic.
    assert (error <= scales[:, None] * 0.5 * (1 + 1e-4)).all()
    assert np.isfinite(scales).all()


def test_a_row_of_zeros_stays_zero() -> None:
    integers, scales = quantize_rows(np.zeros((2, 3), np.float32))
    assert not integers.any()
    assert (scales == 1).all()


@given(matrices)
def test_packing_what_was_unpacked_changes_nothing_more(matrix: NDArray[np.float32]) -> None:
    """So that a checkpoint loaded and saved again is the same model."""
    once = unpack(pack({"w": matrix}, "int8"))
    twice = unpack(pack(once, "int8"))
    assert np.allclose(once["w"], twice["w"], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("storage", "matrix_type", "vector_type", "tolerance"),
    [
        ("float32", "float32", "float32", 0),
        ("float16", "float16", "float16", 1e-3),
        ("int8", "int8", "float32", 1e-2),
    ],
)
def test_the_form_on_disk_and_what_is_read_from_it(
    storage: Storage, matrix_type: str, vector_type: str, tolerance: float
) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 5), dtype=np.float32),
        "b": rng.standard_normal(4, dtype=np.float32),
    }
    stored = pack(weights, storage)
    assert (stored["w"].dtype.name, stored["b"].dtype.name) == (matrix_type, vector_type)
    read = unpack(stored)
    assert set(read) == {"w", "b"}
    for name, tensor in weights.items():
        assert read[name].dtype == np.float32
        assert np.abs(read[name] - tensor).max() <= tolerance * np.abs(tensor).max()


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="storage 'int4' is unknown"):
        pack({}, "int4")  # type: ignore[arg-type]
