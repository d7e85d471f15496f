// Transforms of several lines at once, one a lane of a vector: included by fft.cpp for every number of `lanes`, with EVENS and
// ODDS of two vectors side by side, LOWER and UPPER halves of two that are shuffled together. A lane's bits are the same
// whatever the number of lanes.

typedef double vector __attribute__((vector_size(8 * lanes)));

/// A complex number of every line.
struct numbers {
  vector re, im;
};

inline numbers operator+(numbers a, numbers b) { return {a.re + b.re, a.im + b.im}; }
inline numbers operator-(numbers a, numbers b) { return {a.re - b.re, a.im - b.im}; }
inline numbers operator*(double s, numbers a) { return {s * a.re, s * a.im}; }
/// −iz
inline numbers turned(numbers z) { return {z.im, -z.re}; }
inline numbers swapped(numbers z) { return {z.im, z.re}; }
inline numbers product(numbers a, complex w) {
  return {a.re * w.real() - a.im * w.imag(), a.re * w.imag() + a.im * w.real()};
}

/// X ← the transform of r numbers.
template <size_t r> void butterfly(const numbers *x, numbers *X);

template <> inline void butterfly<2>(const numbers *x, numbers *X) {
  X[0] = x[0] + x[1];
  X[1] = x[0] - x[1];
}

template <> inline void butterfly<3>(const numbers *x, numbers *X) {
  const numbers sum = x[1] + x[2], middle = x[0] - 0.5 * sum;
  const numbers side = 0.86602540378443864676 * turned(x[1] - x[2]);
  X[0] = x[0] + sum;
  X[1] = middle + side;
  X[2] = middle - side;
}

template <> inline void butterfly<4>(const numbers *x, numbers *X) {
  const numbers a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = turned(x[1] - x[3]);
  X[0] = a + c;
  X[1] = b + d;
  X[2] = a - c;
  X[3] = b - d;
}

template <> inline void butterfly<5>(const numbers *x, numbers *X) {
  // cos and sin of 72° and of 144°.
  constexpr double c1 = 0.30901699437494742410, c2 = -0.80901699437494742410;
  constexpr double s1 = 0.95105651629515357212, s2 = 0.58778525229247312917;
  const numbers near = x[1] + x[4], far = x[2] + x[3];
  const numbers apart = turned(x[1] - x[4]), between = turned(x[2] - x[3]);
  const numbers a = x[0] + c1 * near + c2 * far, b = x[0] + c2 * near + c1 * far;
  const numbers c = s1 * apart + s2 * between, d = s2 * apart - s1 * between;
  X[0] = x[0] + near + far;
  X[1] = a + c;
  X[2] = b + d;
  X[3] = b - d;
  X[4] = a - c;
}

/// A step of Stockham's transform: `stride` transforms of length r·m, neighbours in x, become r·stride of length m in y.
template <size_t r> void step(const numbers *x, numbers *y, size_t m, size_t stride, const complex *twiddles) {
  for (size_t p = 0; p < m; p++, twiddles += r - 1) {
    for (size_t q = 0; q < stride; q++) {
      numbers in[r], out[r];
      for (size_t k = 0; k < r; k++) in[k] = x[q + stride * (p + m * k)];
      butterfly<r>(in, out);
      numbers *const to = y + q + stride * r * p;
      to[0] = out[0];
      for (size_t k = 1; k < r; k++) to[stride * k] = p == 0 ? out[k] : product(out[k], twiddles[k - 1]);
    }
  }
}

/// The transform of m numbers x, in x or y; both are overwritten.
numbers *smooth_transform(const aipo_fft *plan, numbers *x, numbers *y) {
  size_t length = plan->m, stride = 1;
  const complex *own = plan->twiddles.data();
  for (size_t r : plan->factors) {
    const size_t m = length / r;
    switch (r) {
      case 2: step<2>(x, y, m, stride, own); break;
      case 3: step<3>(x, y, m, stride, own); break;
      case 4: step<4>(x, y, m, stride, own); break;
      default: step<5>(x, y, m, stride, own);
    }
    own += m * (r - 1);
    length = m;
    stride *= r;
    std::swap(x, y);
  }
  return x;
}

/// The transform of the n numbers in x, in x or y, which have room for m. The backward transform is this one between two
/// swaps of re and im.
numbers *transform(const aipo_fft *plan, numbers *x, numbers *y) {
  const size_t n = plan->n, m = plan->m;
  if (m == n) return smooth_transform(plan, x, y);
  for (size_t j = 0; j < n; j++) x[j] = product(x[j], plan->chirp[j]);
  for (size_t j = n; j < m; j++) x[j] = {};
  numbers *middle = smooth_transform(plan, x, y), *const other = middle == x ? y : x;
  for (size_t k = 0; k < m; k++) middle[k] = swapped(product(middle[k], plan->spectrum[k]));
  numbers *const X = smooth_transform(plan, middle, other);
  for (size_t k = 0; k < n; k++) X[k] = product(swapped(X[k]), plan->chirp[k]);
  return X;
}

/// Complex numbers of neighbouring lines, side by side in memory.
inline numbers parted(const complex *x) {
  vector a, b;
  __builtin_memcpy(&a, x, sizeof a);
  __builtin_memcpy(&b, x + lanes / 2, sizeof b);
  return {EVENS(a, b), ODDS(a, b)};
}

inline void join(numbers z, complex *x) {
  const vector a = LOWER(z.re, z.im), b = UPPER(z.re, z.im);
  __builtin_memcpy(x, &a, sizeof a);
  __builtin_memcpy(x + lanes / 2, &b, sizeof b);
}

/// Groups of lines that are read and written together, so that a stretch of memory is touched once.
constexpr size_t groups = 4 / lanes;

void lines(
  const aipo_fft *plan, int backward, size_t count, size_t line_stride, size_t stride, double *x, double *work) {
  const size_t n = plan->n;
  numbers *const space = (numbers *)work, *const spare = space + groups * plan->m;
  for (size_t first = 0; first < count; first += groups * lanes) {
    const size_t taken = count - first < groups * lanes ? count - first : groups * lanes;
    complex *const block = (complex *)x + first * line_stride;
    const bool is_dense = line_stride == 1 && taken == groups * lanes;
    for (size_t i = 0; i < n; i++) {
      for (size_t g = 0; is_dense && g < groups; g++) {
        const numbers value = parted(block + i * stride + g * lanes);
        space[g * plan->m + i] = backward ? swapped(value) : value;
      }
      for (size_t l = 0; !is_dense && l < taken; l++) {
        const complex value = block[i * stride + l * line_stride];
        numbers &to = space[l / lanes * plan->m + i];
        to.re[l % lanes] = backward ? value.imag() : value.real();
        to.im[l % lanes] = backward ? value.real() : value.imag();
      }
    }
    const numbers *found[groups];
    numbers *free = spare;
    for (size_t g = 0; g * lanes < taken; g++) {
      numbers *const own = space + g * plan->m;
      numbers *const X = transform(plan, own, free);
      if (X != own) free = own;
      found[g] = X;
    }
    for (size_t i = 0; i < n; i++) {
      for (size_t g = 0; is_dense && g < groups; g++)
        join(backward ? swapped(found[g][i]) : found[g][i], block + i * stride + g * lanes);
      for (size_t l = 0; !is_dense && l < taken; l++) {
        const numbers &from = found[l / lanes][i];
        const double re = from.re[l % lanes], im = from.im[l % lanes];
        block[i * stride + l * line_stride] = backward ? complex(im, re) : complex(re, im);
      }
    }
  }
}

void real(
  const aipo_fft *plan, size_t count, size_t stride, const double *const *x, double *const *X, double *work) {
  const size_t n = plan->n;
  numbers *const in = (numbers *)work;
  // Line 2l is the real part of lane l, line 2l + 1 the imaginary one.
  for (size_t i = 0; i < n; i++)
    for (size_t l = 0; l < lanes; l++) {
      in[i].re[l] = 2 * l < count ? x[2 * l][i * stride] : 0;
      in[i].im[l] = 2 * l + 1 < count ? x[2 * l + 1][i * stride] : 0;
    }
  const numbers *const Z = transform(plan, in, in + plan->m);
  for (size_t k = 0; k <= n / 2; k++) {
    // Of z = a + ib: A = (Zₖ + conj Z₋ₖ) / 2, B = (Zₖ − conj Z₋ₖ) / 2i.
    const numbers plus = Z[k], minus = Z[(n - k) % n];
    const vector a = 0.5 * (plus.re + minus.re), b = 0.5 * (plus.im - minus.im);
    const vector c = 0.5 * (plus.im + minus.im), d = 0.5 * (minus.re - plus.re);
    for (size_t l = 0; l < lanes; l++) {
      if (2 * l < count) ((complex *)X[2 * l])[k * stride] = complex(a[l], b[l]);
      if (2 * l + 1 < count) ((complex *)X[2 * l + 1])[k * stride] = complex(c[l], d[l]);
    }
  }
}

void real_backward(
  const aipo_fft *plan, size_t count, size_t stride, const double *const *X, double scale, double *const *x,
  double *work) {
  const size_t n = plan->n;
  numbers *const in = (numbers *)work;
  for (size_t k = 0; k <= n / 2; k++) {
    const size_t opposite = (n - k) % n;
    for (size_t l = 0; l < lanes; l++) {
      complex P = 2 * l < count ? ((const complex *)X[2 * l])[k * stride] : 0;
      complex Q = 2 * l + 1 < count ? ((const complex *)X[2 * l + 1])[k * stride] : 0;
      if (opposite == k) P = P.real(), Q = Q.real();
      in[k].re[l] = P.imag() + Q.real();
      in[k].im[l] = P.real() - Q.imag();
      in[opposite].re[l] = Q.real() - P.imag();
      in[opposite].im[l] = P.real() + Q.imag();
    }
  }
  const numbers *const z = transform(plan, in, in + plan->m);
  for (size_t i = 0; i < n; i++)
    for (size_t l = 0; l < lanes; l++) {
      if (2 * l < count) x[2 * l][i * stride] = scale * z[i].im[l];
      if (2 * l + 1 < count) x[2 * l + 1][i * stride] = scale * z[i].re[l];
    }
}
