/* Rational-quadratic splines of one variant and one type, written to be read: included like elementwise.h, after it. */

#ifndef CK_SPLINE
#define CK_SPLINE

/* The bin of a point, its number, its lower corner, its extent and the slopes at its ends; and all shares. */
typedef struct ck_bin {
  int32_t k;
  double x, w, y, h, d0, d1;
  double widths[CK_MAX_BINS], heights[CK_MAX_BINS];
} ck_bin;

static inline void ck_shares(int32_t n, const double *logits, double *shares) {
  double most = logits[0], sum = 0;
  for (int32_t i = 1; i < n; i++) most = logits[i] > most ? logits[i] : most;
  for (int32_t i = 0; i < n; i++) sum += shares[i] = exp(logits[i] - most);
  for (int32_t i = 0; i < n; i++) shares[i] = CK_LEAST_SHARE + (1 - n * CK_LEAST_SHARE) * (shares[i] / sum);
}

/* log(e^(1 − CK_LEAST_SLOPE) − 1) */
#define CK_SLOPE_OFFSET 0.5397424172369522
static inline double ck_slope(double s) {
  double u = s + CK_SLOPE_OFFSET;
  return CK_LEAST_SLOPE + (u > 0 ? u : 0) + log1p(exp(-fabs(u)));
}

/* The bin where x, or with `inverse` y, is `at`; n are the 3K − 1 numbers. */
static inline void ck_find_bin(const ck_spline_form *spline, const double *n, double at, int inverse, ck_bin *bin) {
  int32_t K = spline->bins, k = 0;
  double size = 2 * spline->bound, x = -spline->bound, y = x;
  ck_shares(K, n, bin->widths);
  ck_shares(K, n + K, bin->heights);
  for (; k < K - 1; k++) {
    double w = size * bin->widths[k], h = size * bin->heights[k];
    if (at < (inverse ? y + h : x + w)) break;
    x += w;
    y += h;
  }
  bin->k = k;
  bin->x = x;
  bin->y = y;
  bin->w = size * bin->widths[k];
  bin->h = size * bin->heights[k];
  bin->d0 = k == 0 ? 1 : ck_slope(n[2 * K + k - 1]);
  bin->d1 = k == K - 1 ? 1 : ck_slope(n[2 * K + k]);
}

/* The place in the bin, 0 to 1, whose y is given; by the form of the root that doesn't cancel. */
static inline double ck_place(const ck_bin *b, double y) {
  double s = b->h / b->w, t = b->d0 + b->d1 - 2 * s, up = y - b->y;
  double a = b->h * (s - b->d0) + up * t, half = b->h * b->d0 - up * t, c = -s * up;
  double root = half * half - 4 * a * c;
  return 2 * c / (-half - sqrt(root > 0 ? root : 0));
}

/* f = y, l = log dy/dx at the place `at` of a bin. */
static inline void ck_value(const ck_bin *b, double at, double *f, double *l) {
  double s = b->h / b->w, rest = 1 - at, both = at * rest, below = s + (b->d0 + b->d1 - 2 * s) * both;
  *f = b->y + b->h * (s * at * at + b->d0 * both) / below;
  *l = 2 * log(s) + log(b->d1 * at * at + 2 * s * both + b->d0 * rest * rest) - 2 * log(below);
}

/* From cotangents of shares to those of their logits, for the bin k: those of the shares before it have the cotangent
 * `before`, its own has `own`. */
static inline void ck_shares_vjp(int32_t n, int32_t k, const double *shares, double before, double own, double *logits) {
  double mean = 0;
  for (int32_t i = 0; i < n; i++) {
    logits[i] = i < k ? before : i == k ? own : 0;
    mean += (shares[i] - CK_LEAST_SHARE) * logits[i];
  }
  for (int32_t i = 0; i < n; i++)
    logits[i] = (shares[i] - CK_LEAST_SHARE) * (logits[i] - mean / (1 - n * CK_LEAST_SHARE));
}

/* What the parts of f = y + N/D and l = 2 log s + log M − 2 log D change by with a variable. */
typedef struct ck_change {
  double f, l;
} ck_change;
static inline ck_change ck_changes(double N, double D, double M, double dN, double dD, double dM) {
  return (ck_change){(dN * D - N * dD) / (D * D), dM / M - 2 * dD / D};
}

/* The gradient of fbar·f + lbar·l at x: in the numbers, and as slopes df/dx and dl/dx. */
static inline void ck_gradient(const ck_spline_form *spline, const double *n, double x, double fbar, double lbar, double *nbar,
                               double *dfdx, double *dldx) {
  int32_t K = spline->bins;
  ck_bin b;
  ck_find_bin(spline, n, x, 0, &b);
  double at = (x - b.x) / b.w, rest = 1 - at, both = at * rest, s = b.h / b.w, t = b.d0 + b.d1 - 2 * s;
  double N = b.h * (s * at * at + b.d0 * both), D = s + t * both;
  double M = b.d1 * at * at + 2 * s * both + b.d0 * rest * rest, turn = 1 - 2 * at;
  ck_change place = ck_changes(N, D, M, b.h * (2 * s * at + b.d0 * turn), t * turn,
                               2 * (b.d1 * at + s * turn - b.d0 * rest));
  ck_change slope = ck_changes(N, D, M, b.h * at * at, 1 - 2 * both, 2 * both);
  ck_change first = ck_changes(N, D, M, b.h * both, both, rest * rest), last = ck_changes(N, D, M, 0, both, at * at);
  slope.l += 2 / s;
  *dfdx = place.f / b.w;
  *dldx = place.l / b.w;
  double placebar = fbar * place.f + lbar * place.l, slopebar = fbar * slope.f + lbar * slope.l;
  /* place = (x − b.x)/b.w, s = b.h/b.w */
  double size = 2 * spline->bound;
  ck_shares_vjp(K, b.k, b.widths, -size * placebar / b.w, -size * (placebar * at + slopebar * s) / b.w, nbar);
  ck_shares_vjp(K, b.k, b.heights, size * fbar, size * (fbar * N / (D * b.h) + slopebar / b.w), nbar + K);
  for (int32_t i = 0; i < K - 1; i++) nbar[2 * K + i] = 0;
  if (b.k > 0)
    nbar[2 * K + b.k - 1] = (fbar * first.f + lbar * first.l) / (1 + exp(-n[2 * K + b.k - 1] - CK_SLOPE_OFFSET));
  if (b.k < K - 1)
    nbar[2 * K + b.k] = (fbar * last.f + lbar * last.l) / (1 + exp(-n[2 * K + b.k] - CK_SLOPE_OFFSET));
}
#endif

static void NAME(spline)(const ck_spline_form *spline, int32_t direction, int32_t parity, int32_t height, int32_t width,
                         int32_t ct, int64_t row0, int64_t row1, const T *h, T *x, int64_t xs, double *logdet_rows,
                         T *trace) {
  const int32_t numbers = 3 * spline->bins - 1, inverse = direction == CK_INVERSE;
  for (int64_t r = row0; r < row1; r++) {
    double sum = 0;
    for (int32_t j = NAME(first)(parity, height, r); j < width; j += parity < 0 ? 1 : 2)
      for (int32_t c = 0; c < ct; c++) {
        const int64_t p = r * width + j;
        double n[3 * CK_MAX_BINS], from = (double)x[p * xs + c], to = from, l = 0;
        for (int32_t i = 0; i < numbers; i++) n[i] = (double)h[(p * numbers + i) * ct + c];
        if (fabs(from) < spline->bound) {
          ck_bin bin;
          ck_find_bin(spline, n, from, inverse, &bin);
          double at = inverse ? ck_place(&bin, from) : (from - bin.x) / bin.w;
          ck_value(&bin, at, &to, &l);
          if (inverse) to = bin.x + at * bin.w;
        } else if (from != from) {
          l = from;
        }
        x[p * xs + c] = (T)to;
        sum += l;
        if (!trace) continue;
        T *kept = trace + (p * ct + c) * (numbers + 1);
        kept[0] = (T)(inverse ? to : from);
        for (int32_t i = 0; i < numbers; i++) kept[1 + i] = (T)n[i];
      }
    if (logdet_rows) logdet_rows[r] = inverse ? -sum : sum;
  }
}

/* There: x̄ = ȳ·f' + l̄·l', n̄ = ȳ·∂f/∂n + l̄·∂l/∂n. Back, where x = f⁻¹(y) and −l is the log-determinant: with
 * a = (x̄ − l̄·l')/f', ȳ = a and n̄ = −a·∂f/∂n − l̄·∂l/∂n. */
static void NAME(spline_vjp)(const ck_spline_form *spline, int32_t direction, int32_t parity, int32_t height, int32_t width,
                             int32_t ct, int64_t row0, int64_t row1, const T *trace, const double *lbar, T *xbar,
                             int64_t xs, T *hbar) {
  const int32_t numbers = 3 * spline->bins - 1, inverse = direction == CK_INVERSE;
  for (int64_t r = row0; r < row1; r++) {
    const double lb = lbar[r / height];
    NAME(clear_untouched)(parity, height, width, numbers * ct, r, hbar);
    for (int32_t j = NAME(first)(parity, height, r); j < width; j += parity < 0 ? 1 : 2)
      for (int32_t c = 0; c < ct; c++) {
        const int64_t p = r * width + j;
        const T *kept = trace + (p * ct + c) * (numbers + 1);
        double n[3 * CK_MAX_BINS], nbar[3 * CK_MAX_BINS], x = (double)kept[0], g = (double)xbar[p * xs + c];
        for (int32_t i = 0; i < numbers; i++) {
          n[i] = (double)kept[1 + i];
          nbar[i] = 0;
        }
        if (fabs(x) < spline->bound) {
          double dfdx, dldx;
          ck_gradient(spline, n, x, g, lb, nbar, &dfdx, &dldx);
          if (inverse) {
            g = (g - lb * dldx) / dfdx;
            ck_gradient(spline, n, x, -g, -lb, nbar, &dfdx, &dldx);
          } else {
            g = g * dfdx + lb * dldx;
          }
        }
        xbar[p * xs + c] = (T)g;
        for (int32_t i = 0; i < numbers; i++) hbar[(p * numbers + i) * ct + c] = (T)nbar[i];
      }
  }
}
