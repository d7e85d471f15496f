/// Discrete Fourier transforms of any length n ≥ 1 in O(n log n), in double precision.
///
/// Forward `Xₖ = Σⱼ xⱼ e^(−2πijk/n)`, backward with e^(+2πijk/n) and no factor. Complex numbers are pairs (re, im);
/// strides count numbers of the array's kind. A plan is read only: threads share it, each with a workspace of its own.
/// Nothing but `aipo_fft_make` allocates.
///
/// Lengths 2ᵃ3ᵇ5ᶜ go to kissfft. Its butterfly for other factors takes O(p) a value and keeps scratch in the plan, so
/// other lengths are a convolution with a chirp of such a length (L. I. Bluestein, 1970).
#ifndef CAIPOFFT_H
#define CAIPOFFT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aipo_fft aipo_fft;

/// A plan for length n; NULL without memory.
aipo_fft *aipo_fft_make(size_t n);
void aipo_fft_free(aipo_fft *plan);

/// Doubles of the workspace of the functions below.
size_t aipo_fft_workspace(const aipo_fft *plan);

/// Transforms `columns` neighbouring columns of an array of complex numbers in place:
/// column j is x[j], x[j + stride], …, x[j + (n − 1)·stride].
void aipo_fft_columns(
  const aipo_fft *plan, int backward, size_t columns, size_t stride, double *x /* [2·n·stride] */,
  double *work);

/// The first ⌊n/2⌋ + 1 numbers A and B of the transforms of two real sequences a and b at once. b and B may be NULL.
void aipo_fft_real(
  const aipo_fft *plan, size_t stride, const double *a /* [n·stride] */, const double *b,
  double *A /* [2·(n/2 + 1)·stride] */, double *B, double *work);

/// Back from A and B: `a ← scale·(backward transform of A)`, and so b. Of A₀, and A_(n/2) for even n, the real part counts.
void aipo_fft_real_backward(
  const aipo_fft *plan, size_t stride, const double *A, const double *B, double scale, double *a, double *b,
  double *work);

#ifdef __cplusplus
}
#endif

#endif
