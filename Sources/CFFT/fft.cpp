#include "CAIPOFFT.h"

#include <cmath>
#include <new>

// The header alone, which is all of it; so no library is linked and pkg-config isn't asked.
#if __has_include(<kissfft/kissfft.hh>)
#include <kissfft/kissfft.hh>
#else // Homebrew's folder on Apple silicon, where compilers don't look by themselves
#include "/opt/homebrew/include/kissfft/kissfft.hh"
#endif

typedef std::complex<double> complex;

namespace {

bool is_smooth(size_t n) {
  for (size_t p : {2, 3, 5})
    while (n % p == 0) n /= p;
  return n == 1;
}

/// The least 2ᵃ3ᵇ5ᶜ ≥ n.
size_t smooth_above(size_t n) {
  while (!is_smooth(n)) n++;
  return n;
}

complex swapped(complex z) { return complex(z.imag(), z.real()); }

/// Not operator*, which looks after infinities.
complex product(complex a, complex b) {
  return complex(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
}

}  // namespace

struct aipo_fft {
  const size_t n;
  const size_t m;  /// length of kissfft's transforms: n, or for the chirp at least 2n − 1
  const kissfft<double> inner;
  std::vector<complex> chirp;     /// e^(−πij²/n), j < n; empty where m = n
  std::vector<complex> spectrum;  /// transform of the conjugate chirp, −n < j < n, over m

  explicit aipo_fft(size_t n) : n(n), m(is_smooth(n) ? n : smooth_above(2 * n - 1)), inner(m, false) {
    if (m == n) return;
    chirp.resize(n);
    spectrum.resize(m);
    std::vector<complex> filter(m);
    size_t square = 0;  // j² mod 2n
    for (size_t j = 0; j < n; j++) {
      const double angle = -M_PI * (double)square / (double)n;
      chirp[j] = complex(std::cos(angle), std::sin(angle));
      filter[j] = filter[(m - j) % m] = std::conj(chirp[j]) / (double)m;
      square = (square + 2 * j + 1) % (2 * n);
    }
    inner.transform(filter.data(), spectrum.data());
  }

  /// X ← transform of x. The backward transform is this one between two swaps of re and im.
  /// x has room for m numbers and is overwritten, X has as much.
  void transform(complex *x, complex *X) const {
    if (n == 1) {
      X[0] = x[0];  // for kissfft a factor of its own
      return;
    }
    if (m == n) return inner.transform(x, X);
    for (size_t j = 0; j < n; j++) x[j] = product(x[j], chirp[j]);
    for (size_t j = n; j < m; j++) x[j] = 0;
    inner.transform(x, X);
    for (size_t k = 0; k < m; k++) x[k] = swapped(product(X[k], spectrum[k]));
    inner.transform(x, X);
    for (size_t k = 0; k < n; k++) X[k] = product(swapped(X[k]), chirp[k]);
  }
};

aipo_fft *aipo_fft_make(size_t n) {
  try {
    return new aipo_fft(n);
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
}

void aipo_fft_free(aipo_fft *plan) { delete plan; }

size_t aipo_fft_workspace(const aipo_fft *plan) { return 4 * plan->m; }

void aipo_fft_columns(
  const aipo_fft *plan, int backward, size_t columns, size_t stride, double *x, double *work) {
  complex *const in = (complex *)work, *const out = in + plan->m;
  for (size_t j = 0; j < columns; j++) {
    complex *const column = (complex *)x + j;
    for (size_t i = 0; i < plan->n; i++) in[i] = backward ? swapped(column[i * stride]) : column[i * stride];
    plan->transform(in, out);
    for (size_t i = 0; i < plan->n; i++) column[i * stride] = backward ? swapped(out[i]) : out[i];
  }
}

void aipo_fft_real(
  const aipo_fft *plan, size_t stride, const double *a, const double *b, double *A, double *B, double *work) {
  const size_t n = plan->n;
  complex *const in = (complex *)work, *const Z = in + plan->m;
  for (size_t i = 0; i < n; i++) in[i] = complex(a[i * stride], b ? b[i * stride] : 0);
  plan->transform(in, Z);
  // Of z = a + ib: A = (Zₖ + conj Z₋ₖ) / 2, B = (Zₖ − conj Z₋ₖ) / 2i.
  for (size_t k = 0; k <= n / 2; k++) {
    const complex plus = Z[k], minus = std::conj(Z[(n - k) % n]);
    ((complex *)A)[k * stride] = 0.5 * (plus + minus);
    if (B) ((complex *)B)[k * stride] = 0.5 * complex(plus.imag() - minus.imag(), minus.real() - plus.real());
  }
}

void aipo_fft_real_backward(
  const aipo_fft *plan, size_t stride, const double *A, const double *B, double scale, double *a, double *b,
  double *work) {
  const size_t n = plan->n;
  complex *const in = (complex *)work, *const z = in + plan->m;
  for (size_t k = 0; k <= n / 2; k++) {
    complex P = ((const complex *)A)[k * stride], Q = B ? ((const complex *)B)[k * stride] : 0;
    const size_t opposite = (n - k) % n;
    if (opposite == k) P = P.real(), Q = Q.real();
    in[k] = swapped(complex(P.real() - Q.imag(), P.imag() + Q.real()));
    in[opposite] = swapped(complex(P.real() + Q.imag(), Q.real() - P.imag()));
  }
  plan->transform(in, z);
  for (size_t i = 0; i < n; i++) {
    a[i * stride] = scale * z[i].imag();
    if (b) b[i * stride] = scale * z[i].real();
  }
}
