/// Discrete Fourier transforms of any length n ≥ 1 in O(n log n), in double precision.
///
/// Forward `Xₖ = Σⱼ xⱼ e^(−2πijk/n)`, backward with e^(+2πijk/n) and no factor. Complex numbers are pairs (re, im);
/// strides count numbers of the array's kind. A plan is read only: threads share it, each with a workspace of its own.
/// Nothing but `aipo_fft_make` allocates. A line's bits don't depend on the lines beside it.
///
/// Lengths 2ᵃ3ᵇ5ᶜ by steps of 4, 2, 3 and 5 that leave the result in order (T. Stockham, 1966), two lines at once or, where there is AVX, four, with the
/// same bits; others
/// are a convolution with a chirp of such a length (L. I. Bluestein, 1970).
#ifndef CAIPOFFT_H
#define CAIPOFFT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aipo_fft aipo_fft;

/// A plan for length n; NULL without memory.
aipo_fft *aipo_fft_make(size_t n);
/// One that transforms two lines at once on every processor.
aipo_fft *aipo_fft_make_narrow(size_t n);
void aipo_fft_free(aipo_fft *plan);

/// Doubles of the workspace of the functions below, which begins at a multiple of 32 bytes.
size_t aipo_fft_workspace(const aipo_fft *plan);

/// Transforms `lines` lines of complex numbers in place: line l is x[l·line_stride + i·stride], 0 ≤ i < n.
void aipo_fft_lines(
  const aipo_fft *plan, int backward, size_t lines, size_t line_stride, size_t stride, double *x, double *work);

/// Real lines that are transformed at once, at most AIPO_FFT_REAL_LINES.
size_t aipo_fft_real_lines(const aipo_fft *plan);
#define AIPO_FFT_REAL_LINES 8

/// The first ⌊n/2⌋ + 1 numbers X[l] of the transforms of real lines x[l], `[n·stride]` each, l < lines ≤ `aipo_fft_real_lines`.
void aipo_fft_real(
  const aipo_fft *plan, size_t lines, size_t stride, const double *const *x, double *const *X, double *work);

/// Back from X: `x[l] ← scale·(backward transform of X[l])`. Of X₀, and X_(n/2) for even n, the real part counts.
void aipo_fft_real_backward(
  const aipo_fft *plan, size_t lines, size_t stride, const double *const *X, double scale, double *const *x,
  double *work);

#ifdef __cplusplus
}
#endif

#endif
