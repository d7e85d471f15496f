#include "CAIPOFFT.h"

#include <cmath>
#include <complex>
#include <new>
#include <utility>
#include <vector>

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

/// e^(−2πij/n)
complex root(size_t j, size_t n) {
  const double angle = -2 * M_PI * (double)(j % n) / (double)n;
  return complex(std::cos(angle), std::sin(angle));
}

}  // namespace

struct aipo_fft {
  const size_t n;
  const size_t m;  /// n, or for the chirp at least 2n − 1, 2ᵃ3ᵇ5ᶜ
  const bool is_wide;
  std::vector<size_t> factors;    /// of m
  std::vector<complex> twiddles;  /// of m, step by step
  std::vector<complex> chirp;     /// e^(−πij²/n), j < n; empty where m = n
  std::vector<complex> spectrum;  /// transform of the conjugate chirp, −n < j < n, over m

  aipo_fft(size_t n, bool is_wide);
};

namespace pairs {

constexpr size_t lanes = 2;
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ODDS(a, b) __builtin_shufflevector(a, b, 1, 3)
#define LOWER EVENS
#define UPPER ODDS
#include "lines.h"
#undef EVENS
#undef ODDS
#undef LOWER
#undef UPPER

}  // namespace pairs

#if defined(__x86_64__)
// Without fused multiplications, which round otherwise.
#pragma clang attribute push(__attribute__((target("avx"))), apply_to = function)
namespace quads {

constexpr size_t lanes = 4;
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODDS(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define LOWER(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define UPPER(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#include "lines.h"

}  // namespace quads
#pragma clang attribute pop

static bool has_wide() { return __builtin_cpu_supports("avx"); }
#else
namespace quads = pairs;

static bool has_wide() { return false; }
#endif

aipo_fft::aipo_fft(size_t n, bool is_wide) : n(n), m(is_smooth(n) ? n : smooth_above(2 * n - 1)), is_wide(is_wide) {
  size_t length = m;
  for (size_t r : {4, 2, 3, 5}) {
    for (; length % r == 0; length /= r) {
      factors.push_back(r);
      for (size_t p = 0; p < length / r; p++)
        for (size_t k = 1; k < r; k++) twiddles.push_back(root(p * k, length));
    }
  }
  if (m == n) return;
  chirp.resize(n);
  spectrum.resize(m);
  std::vector<pairs::numbers> filter(m), other(m);
  size_t square = 0;  // j² mod 2n
  for (size_t j = 0; j < n; j++) {
    chirp[j] = root(square, 2 * n);
    const complex value = std::conj(chirp[j]) / (double)m;
    filter[j] = filter[(m - j) % m] = {pairs::vector{} + value.real(), pairs::vector{} + value.imag()};
    square = (square + 2 * j + 1) % (2 * n);
  }
  const pairs::numbers *const found = pairs::smooth_transform(this, filter.data(), other.data());
  for (size_t k = 0; k < m; k++) spectrum[k] = complex(found[k].re[0], found[k].im[0]);
}

static aipo_fft *make(size_t n, bool is_wide) {
  try {
    return new aipo_fft(n, is_wide);
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
}

aipo_fft *aipo_fft_make(size_t n) { return make(n, has_wide()); }

aipo_fft *aipo_fft_make_narrow(size_t n) { return make(n, false); }

void aipo_fft_free(aipo_fft *plan) { delete plan; }

size_t aipo_fft_workspace(const aipo_fft *plan) {
  const size_t bytes = plan->is_wide ? (quads::groups + 1) * sizeof(quads::numbers)
                                     : (pairs::groups + 1) * sizeof(pairs::numbers);
  return plan->m * bytes / sizeof(double);
}

size_t aipo_fft_real_lines(const aipo_fft *plan) { return 2 * (plan->is_wide ? quads::lanes : pairs::lanes); }

void aipo_fft_lines(
  const aipo_fft *plan, int backward, size_t lines, size_t line_stride, size_t stride, double *x, double *work) {
  (plan->is_wide ? quads::lines : pairs::lines)(plan, backward, lines, line_stride, stride, x, work);
}

void aipo_fft_real(
  const aipo_fft *plan, size_t lines, size_t stride, const double *const *x, double *const *X, double *work) {
  (plan->is_wide ? quads::real : pairs::real)(plan, lines, stride, x, X, work);
}

void aipo_fft_real_backward(
  const aipo_fft *plan, size_t lines, size_t stride, const double *const *X, double scale, double *const *x,
  double *work) {
  (plan->is_wide ? quads::real_backward : pairs::real_backward)(plan, lines, stride, X, scale, x, work);
}
