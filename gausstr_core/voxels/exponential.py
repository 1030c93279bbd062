"""An exponential that numba turns into vector instructions; libm's is called once per number."""

from __future__ import annotations

import numpy as np

from gausstr_core.process.parallel import kernel

PER_LN2 = np.float32(1.4426950408889634)
# ln 2 in two parts: the first has few digits, so that whole multiples of it are exact
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST, HIGHEST = np.float32(-87.0), np.float32(87.0)
HALF, ONE = np.float32(0.5), np.float32(1.0)
# the polynomial of Cephes' expf for |r| <= ln 2 / 2, highest power first
C0, C1, C2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
C3, C4 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1)


@kernel
def exponentiate(values: np.ndarray, bits: np.ndarray) -> None:
    """values = exp(values) in place, relative error below 3e-7.

    Args:
        values: float32 [n]; up to 87 they are right, beyond it the result is exp(87), and below
            -87 it is 0.
        bits: int32 [n], scratch.
    """
    for n in range(values.shape[0]):
        x = min(max(values[n], LOWEST), HIGHEST)
        power = np.floor(x * PER_LN2 + HALF)
        r = x - power * LN2_HIGH - power * LN2_LOW
        series = ((((C0 * r + C1) * r + C2) * r + C3) * r + C4) * r + HALF
        # 2^power as a float32 is its exponent's bits; zero bits are the number zero
        bits[n] = (np.int32(power) + np.int32(127)) << 23 if values[n] >= LOWEST else 0
        values[n] = series * r * r + r + ONE
    scale = bits.view(np.float32)
    for n in range(values.shape[0]):
        values[n] *= scale[n]
