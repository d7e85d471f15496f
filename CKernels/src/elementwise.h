/* Elementwise kernels of one variant and one type: included with T, NAME(x) and CK_F32 (0 or 1) defined. */

#if CK_F32
/* e^x to 2 ulp for x in [-87, 88]; below, 0 < result <= e^-87. Cody–Waite reduction, degree 6. */
static inline T NAME(exp_)(T x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = x * 1.44269504088896341f;
  n = (n + 12582912.0f) - 12582912.0f; /* to the nearest integer */
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  n = n == n ? n : 0; /* NaN has no integer; it stays in p */
  union { int32_t i; float f; } scale = {.i = ((int32_t)n + 127) << 23};
  return p * scale.f;
}

/* log(1 + e) for e in [0, 1]: 2·atanh(e / (2 + e)), the series to s¹⁵; absolute error below 1.2e-7. */
static inline T NAME(log1p_)(T e) {
  float s = e / (2.0f + e), q = s * s;
  float p = 1.0f / 15.0f;
  p = p * q + 1.0f / 13.0f;
  p = p * q + 1.0f / 11.0f;
  p = p * q + 1.0f / 9.0f;
  p = p * q + 1.0f / 7.0f;
  p = p * q + 1.0f / 5.0f;
  p = p * q + 1.0f / 3.0f;
  return 2.0f * (s + s * q * p);
}
#else
static inline T NAME(exp_)(T x) { return exp(x); }
static inline T NAME(log1p_)(T e) { return log1p(e); }
#endif

static inline T NAME(abs_)(T x) { return x < 0 ? -x : x; }

/* ---- actnorm ---- */

static void NAME(actnorm)(int32_t direction, int64_t pixels, int32_t c, const T *b, const T *s, T *x) {
  T scale[CK_MAX_STACK];
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t m = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    for (int32_t k = 0; k < m; k++) {
      T e = NAME(exp_)(s[k0 + k]);
      scale[k] = direction == CK_INVERSE ? 1 / e : e;
    }
    for (int64_t p = 0; p < pixels; p++) {
      T *xp = x + p * c + k0;
      if (direction == CK_INVERSE)
        for (int32_t k = 0; k < m; k++) xp[k] = xp[k] * scale[k] - b[k0 + k];
      else
        for (int32_t k = 0; k < m; k++) xp[k] = (xp[k] + b[k0 + k]) * scale[k];
    }
  }
}

static void NAME(actnorm_vjp)(int32_t direction, int64_t pixels, int32_t c, const T *b, const T *s, T *x, T *g,
                              double *db, double *ds) {
  const int inverse = direction == CK_INVERSE;
  T scale[CK_MAX_STACK], unscale[CK_MAX_STACK];
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t m = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    for (int32_t k = 0; k < m; k++) {
      scale[k] = NAME(exp_)(s[k0 + k]);
      unscale[k] = 1 / scale[k];
    }
    for (int64_t p = 0; p < pixels; p++) {
      T *xp = x ? x + p * c + k0 : NULL, *gp = g + p * c + k0;
      if (x && ds && inverse)
        for (int32_t k = 0; k < m; k++) ds[k0 + k] -= (double)gp[k] * (double)(xp[k] + b[k0 + k]);
      if (x && ds && !inverse)
        for (int32_t k = 0; k < m; k++) ds[k0 + k] += (double)gp[k] * (double)xp[k];
      if (db && inverse)
        for (int32_t k = 0; k < m; k++) db[k0 + k] -= (double)gp[k];
      for (int32_t k = 0; k < m; k++) gp[k] = gp[k] * (inverse ? unscale[k] : scale[k]);
      if (db && !inverse)
        for (int32_t k = 0; k < m; k++) db[k0 + k] += (double)gp[k];
      if (x)
        for (int32_t k = 0; k < m; k++)
          xp[k] = inverse ? (xp[k] + b[k0 + k]) * scale[k] : xp[k] * unscale[k] - b[k0 + k];
    }
  }
}

static void NAME(moments)(int64_t pixels, int32_t c, const T *x, double *mean, double *variance) {
  for (int32_t k = 0; k < c; k++) mean[k] = variance[k] = 0;
  for (int64_t p = 0; p < pixels; p++)
    for (int32_t k = 0; k < c; k++) mean[k] += (double)x[p * c + k];
  for (int32_t k = 0; k < c; k++) mean[k] /= (double)pixels;
  for (int64_t p = 0; p < pixels; p++)
    for (int32_t k = 0; k < c; k++) {
      double d = (double)x[p * c + k] - mean[k];
      variance[k] += d * d;
    }
  for (int32_t k = 0; k < c; k++) variance[k] /= (double)pixels;
}

/* ---- coupling transform ----
 * A row's values of s are gathered into a buffer, so that the transcendentals run over contiguous memory. */

/* From s: scale e^l, log-scale l and its slope dl/ds. In single precision, with u = s + 2 as rounded: σ(u), its slope
 * and log σ(u) to 4 ulp; e^{2·tanh(s/2)} to 4 ulp, its exponent and slope to 3e-7 absolute. */
static inline void NAME(log_scales)(const ck_affine_form *affine, int32_t count, const T *s, T *scale, T *l, T *slope) {
  const int32_t kind = affine->kind;
  if (kind == CK_SIGMOID || kind == CK_SIGMOID_INVERSE) {
    for (int32_t k = 0; k < count; k++) {
      T u = s[k] + 2;
      T e = NAME(exp_)(-NAME(abs_)(u)); /* in (0, 1] */
      T denominator = 1 / (1 + e);
      T small = e * denominator; /* σ(−|u|) */
      scale[k] = u < 0 ? small : denominator;
      l[k] = (u < 0 ? u : 0) - NAME(log1p_)(e);
      slope[k] = u < 0 ? denominator : small;
    }
    if (kind == CK_SIGMOID_INVERSE)
      for (int32_t k = 0; k < count; k++) {
        scale[k] = 1 / scale[k];
        l[k] = -l[k];
        slope[k] = -slope[k];
      }
    else if (affine->bias != 0)
      for (int32_t k = 0; k < count; k++) {
        T biased = scale[k] + (T)affine->bias;
        slope[k] *= scale[k] / biased;
        scale[k] = biased;
        l[k] = (T)log((double)biased);
      }
  } else if (kind == CK_EXP_UNBOUNDED) {
    for (int32_t k = 0; k < count; k++) {
      l[k] = s[k];
      scale[k] = NAME(exp_)(s[k]);
      slope[k] = 1;
    }
  } else {
    for (int32_t k = 0; k < count; k++) {
      T e = NAME(exp_)(-NAME(abs_)(s[k]));
      T t = (1 - e) / (1 + e); /* tanh(|s|/2) */
      t = s[k] < 0 ? -t : t;
      l[k] = 2 * t;
      scale[k] = NAME(exp_)(2 * t);
      slope[k] = 1 - t * t;
    }
  }
}

/* First pixel column of row r that is transformed, and the step to the next. */
static inline int32_t NAME(first)(int32_t parity, int32_t height, int64_t r) {
  return parity < 0 ? 0 : (int32_t)(((r % height) + parity) & 1);
}

/* The transformed values of a row, in pieces of `pixels` pixels × `channels` channels that fill at most CK_MAX_STACK
 * elements. For each piece, `at` is its first pixel, `k0` its first channel and `m` its elements. */
#define CK_FOR_PIECES                                                                        \
  const int32_t step = parity < 0 ? 1 : 2, first = NAME(first)(parity, height, r);           \
  const int32_t columns = (width - first + step - 1) / step;                                 \
  const int32_t most = CK_MAX_STACK / ct > 0 ? CK_MAX_STACK / ct : 1;                        \
  for (int32_t k0 = 0; k0 < ct; k0 += CK_MAX_STACK)                                          \
    for (int32_t q0 = 0, channels = ct - k0 < CK_MAX_STACK ? ct - k0 : CK_MAX_STACK, pixels, \
                 m;                                                                          \
         pixels = columns - q0 < most ? columns - q0 : most, m = pixels * channels, m > 0; q0 += pixels)
#define CK_PIXEL (r * width + first + (int64_t)step * q0)

/* Channel counts for which the moves below are compiled with a constant bound. */
#define CK_MOVE_CHANNELS(X) X(1) X(2) X(3) X(4) X(6) X(8) X(12) X(16) X(24) X(32) X(48)

/* Between `pixels` runs of c channels, xs apart, and contiguous memory. */
static inline __attribute__((always_inline)) void NAME(move_runs)(int32_t pixels, const int32_t c, const T *x,
                                                                  int64_t xs, T *y, int64_t ys) {
  for (int32_t q = 0; q < pixels; q++)
    for (int32_t k = 0; k < c; k++) y[q * ys + k] = x[q * xs + k];
}
static void NAME(move)(int32_t pixels, int32_t c, const T *x, int64_t xs, T *y, int64_t ys) {
#define CK_CASE(M) \
  case M: NAME(move_runs)(pixels, M, x, xs, y, ys); return;
  switch (c) { CK_MOVE_CHANNELS(CK_CASE) }
#undef CK_CASE
  NAME(move_runs)(pixels, c, x, xs, y, ys);
}

/* Eight partial sums in double, added in a fixed order. */
static inline void NAME(add_up)(int32_t count, const T *x, double *sums) {
  int32_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int k = 0; k < 8; k++) sums[k] += (double)x[i + k];
  for (; i < count; i++) sums[i & 7] += (double)x[i];
}

static void NAME(affine)(const ck_affine_form *affine, int32_t direction, int32_t parity, int32_t height, int32_t width, int32_t ct,
                         int64_t row0, int64_t row1, const T *h, T *x, int64_t xs, double *logdet_rows,
                         int32_t slopes_of, T *slopes) {
  T s[CK_MAX_STACK], t[CK_MAX_STACK], v[CK_MAX_STACK], scale[CK_MAX_STACK], l[CK_MAX_STACK], slope[CK_MAX_STACK];
  const int32_t additive = affine->kind == CK_ADDITIVE, last = affine->shift_last, hs = additive ? ct : 2 * ct;
  const int inverse = direction == CK_INVERSE;
  for (int64_t r = row0; r < row1; r++) {
    double sums[8] = {0};
    CK_FOR_PIECES {
      NAME(move)(pixels, channels, x + CK_PIXEL * xs + k0, step * xs, v, channels);
      NAME(move)(pixels, channels, h + CK_PIXEL * hs + k0, (int64_t)step * hs, t, channels);
      if (additive) {
        for (int32_t i = 0; i < m; i++) v[i] = inverse ? v[i] - t[i] : v[i] + t[i];
      } else {
        NAME(move)(pixels, channels, h + CK_PIXEL * hs + ct + k0, (int64_t)step * hs, s, channels);
        NAME(log_scales)(affine, m, s, scale, l, slope);
        NAME(add_up)(m, l, sums);
        /* x + t into t, y into v or s: both sides of the product, whichever was given */
        T *after = inverse || last ? v : s;
        if (last) {
          for (int32_t i = 0; i < m; i++) {
            T u = inverse ? (v[i] - t[i]) / scale[i] : v[i];
            T scaled = inverse ? v[i] - t[i] : u * scale[i];
            s[i] = inverse ? u : scaled + t[i];
            t[i] = u;
            v[i] = scaled;
          }
        } else if (inverse) {
          for (int32_t i = 0; i < m; i++) {
            T u = v[i] / scale[i];
            s[i] = u - t[i];
            t[i] = u;
          }
        } else {
          for (int32_t i = 0; i < m; i++) {
            t[i] = v[i] + t[i];
            s[i] = t[i] * scale[i];
          }
        }
        if (slopes) {
          T *factor = slopes + 3 * r * width * ct + (int64_t)q0 * ct + (int64_t)k0 * pixels;
          T *product = factor + (int64_t)width * ct, *plain = product + (int64_t)width * ct;
          if (slopes_of == CK_INVERSE) {
            for (int32_t i = 0; i < m; i++) {
              factor[i] = 1 / scale[i];
              product[i] = t[i] * slope[i];
            }
          } else {
            for (int32_t i = 0; i < m; i++) {
              factor[i] = scale[i];
              product[i] = after[i] * slope[i];
            }
          }
          for (int32_t i = 0; i < m; i++) plain[i] = slope[i];
        }
      }
      NAME(move)(pixels, channels, additive ? v : s, channels, x + CK_PIXEL * xs + k0, step * xs);
    }
    if (!logdet_rows) continue;
    double sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    logdet_rows[r] = inverse ? -sum : sum;
  }
}

/* hbar is zero where a pixel isn't transformed. */
static inline void NAME(clear_untouched)(int32_t parity, int32_t height, int32_t width, int32_t hs, int64_t r,
                                         T *hbar) {
  if (parity < 0) return;
  for (int32_t j = 1 - NAME(first)(parity, height, r); j < width; j += 2)
    for (int32_t k = 0; k < hs; k++) hbar[(r * width + j) * hs + k] = 0;
}

static void NAME(affine_vjp)(const ck_affine_form *affine, int32_t direction, int32_t parity, int32_t height, int32_t width,
                             int32_t ct, int64_t row0, int64_t row1, const T *slopes, const double *lbar, T *g,
                             int64_t gs, T *hbar) {
  T before[CK_MAX_STACK], shift[CK_MAX_STACK], scale[CK_MAX_STACK];
  const int32_t additive = affine->kind == CK_ADDITIVE, last = affine->shift_last, hs = additive ? ct : 2 * ct;
  const int inverse = direction == CK_INVERSE;
  for (int64_t r = row0; r < row1; r++) {
    const T lb = (T)lbar[r / height];
    NAME(clear_untouched)(parity, height, width, hs, r, hbar);
    CK_FOR_PIECES {
      NAME(move)(pixels, channels, g + CK_PIXEL * gs + k0, step * gs, before, channels);
      if (additive) {
        for (int32_t i = 0; i < m; i++) shift[i] = inverse ? -before[i] : before[i];
      } else {
        const T *factor = slopes + 3 * r * width * ct + (int64_t)q0 * ct + (int64_t)k0 * pixels;
        const T *product = factor + (int64_t)width * ct, *plain = product + (int64_t)width * ct;
        const T sign = inverse ? -1 : 1;
        for (int32_t i = 0; i < m; i++) {
          T after = before[i] * factor[i];
          scale[i] = sign * (before[i] * product[i] + lb * plain[i]);
          shift[i] = last ? (inverse ? -after : before[i]) : (inverse ? -before[i] : after);
          before[i] = after;
        }
        NAME(move)(pixels, channels, before, channels, g + CK_PIXEL * gs + k0, step * gs);
        NAME(move)(pixels, channels, scale, channels, hbar + CK_PIXEL * hs + ct + k0, (int64_t)step * hs);
      }
      NAME(move)(pixels, channels, shift, channels, hbar + CK_PIXEL * hs + k0, (int64_t)step * hs);
    }
  }
}

/* ---- logistic ---- */

static void NAME(logistic_fwd)(int64_t count, T *x, double *logdet) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) {
    T e = NAME(exp_)(-NAME(abs_)(x[i]));
    sum += -(double)NAME(abs_)(x[i]) - 2 * (double)NAME(log1p_)(e);
    x[i] = (x[i] < 0 ? e : 1) / (1 + e);
  }
  *logdet += sum;
}

/* x = log y − log(1 − y): not finite outside (0, 1). */
static void NAME(logistic_inv)(int64_t count, T *y, double *logdet) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) {
    double v = (double)y[i];
    double a = log(v), b = log1p(-v);
    sum -= a + b;
    y[i] = (T)(a - b);
  }
  *logdet += sum;
}

static void NAME(logistic_fwd_vjp)(int64_t count, double lbar, T *y, T *ybar) {
  for (int64_t i = 0; i < count; i++) {
    double v = (double)y[i];
    ybar[i] = (T)((double)ybar[i] * v * (1 - v) + lbar * (1 - 2 * v));
    y[i] = (T)(log(v) - log1p(-v));
  }
}

static void NAME(logistic_inv_vjp)(int64_t count, double lbar, T *x, T *xbar) {
  for (int64_t i = 0; i < count; i++) {
    double e = exp(-fabs((double)x[i]));
    double v = ((double)x[i] < 0 ? e : 1) / (1 + e), w = ((double)x[i] < 0 ? 1 : e) / (1 + e);
    xbar[i] = (T)(((double)xbar[i] - lbar * (w - v)) / (v * w));
    x[i] = (T)v;
  }
}

/* ---- activations ---- */

/* By way of blocks: y or the slopes may be u, where the compiler can't make vectors of a loop that writes them. */
static void NAME(silu)(int64_t count, const T *u, T *y, T *slope) {
  for (int64_t i0 = 0; i0 < count; i0 += CK_MAX_STACK) {
    int64_t n = count - i0 < CK_MAX_STACK ? count - i0 : CK_MAX_STACK;
    T values[CK_MAX_STACK], slopes[CK_MAX_STACK];
    for (int64_t i = 0; i < n; i++) {
      T v = u[i0 + i], e = NAME(exp_)(-NAME(abs_)(v)), d = 1 / (1 + e);
      T sigma = v < 0 ? e * d : d, other = v < 0 ? d : e * d;
      values[i] = v * sigma;
      slopes[i] = sigma * (1 + v * other);
    }
    memcpy(y + i0, values, (size_t)n * sizeof(T));
    if (slope) memcpy(slope + i0, slopes, (size_t)n * sizeof(T));
  }
}

/* ---- moving channels ---- */

static void NAME(squeeze)(int32_t h, int32_t w, int32_t c, int64_t row0, int64_t row1, const T *x, T *z) {
  (void)h;
  for (int64_t r = row0; r < row1; r++)
    for (int32_t j = 0; j < w / 2; j++) {
      T *to = z + (r * (w / 2) + j) * 4 * c;
      for (int32_t dy = 0; dy < 2; dy++)
        for (int32_t dx = 0; dx < 2; dx++) {
          const T *from = x + ((2 * r + dy) * w + 2 * j + dx) * c;
          for (int32_t k = 0; k < c; k++) to[4 * k + 2 * dy + dx] = from[k];
        }
    }
}

static void NAME(unsqueeze)(int32_t h, int32_t w, int32_t c, int64_t row0, int64_t row1, const T *z, T *x) {
  (void)h;
  for (int64_t r = row0; r < row1; r++)
    for (int32_t j = 0; j < w / 2; j++) {
      const T *from = z + (r * (w / 2) + j) * 4 * c;
      for (int32_t dy = 0; dy < 2; dy++)
        for (int32_t dx = 0; dx < 2; dx++) {
          T *to = x + ((2 * r + dy) * w + 2 * j + dx) * c;
          for (int32_t k = 0; k < c; k++) to[k] = from[4 * k + 2 * dy + dx];
        }
    }
}

static void NAME(copy_channels)(int64_t pixels, int32_t c, const T *x, int64_t xs, T *y, int64_t ys) {
  NAME(move)((int32_t)pixels, c, x, xs, y, ys);
}

static void NAME(checkerboard)(int32_t parity, int32_t add, int32_t height, int32_t width, int32_t c, int64_t row0,
                               int64_t row1, const T *x, T *y) {
  for (int64_t r = row0; r < row1; r++)
    for (int32_t j = 0; j < width; j++) {
      int32_t hit = (((r % height) + j) & 1) == parity;
      int64_t p = (r * width + j) * c;
      for (int32_t k = 0; k < c; k++) {
        T v = hit ? x[p + k] : 0;
        y[p + k] = add ? y[p + k] + v : v;
      }
    }
}

/* ---- sums: four interleaved partial sums in double, added in a fixed order ---- */

static double NAME(dot)(int64_t count, const T *x, const T *y) {
  double s[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (int k = 0; k < 4; k++) s[k] += (double)x[i + k] * (double)y[i + k];
  for (; i < count; i++) s[0] += (double)x[i] * (double)y[i];
  return (s[0] + s[1]) + (s[2] + s[3]);
}

static void NAME(multiply_by)(int64_t count, const T *x, T *y) {
  for (int64_t i = 0; i < count; i++) y[i] *= x[i];
}

static void NAME(sum_pixels)(int64_t pixels, int32_t c, const T *x, int64_t xs, T *sum) {
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t n = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    T block[CK_MAX_STACK];
    for (int32_t k = 0; k < n; k++) block[k] = sum[k0 + k];
    for (int64_t p = 0; p < pixels; p++)
      for (int32_t k = 0; k < n; k++) block[k] += x[p * xs + k0 + k];
    for (int32_t k = 0; k < n; k++) sum[k0 + k] = block[k];
  }
}

static void NAME(axpby)(int64_t count, double of_x, const T *x, double of_y, T *y) {
  const T a = (T)of_x, b = (T)of_y;
  if (b == 0)
    for (int64_t i = 0; i < count; i++) y[i] = a * x[i];
  else if (b == 1)
    for (int64_t i = 0; i < count; i++) y[i] += a * x[i];
  else
    for (int64_t i = 0; i < count; i++) y[i] = a * x[i] + b * y[i];
}

static void NAME(adam)(int64_t count, double rate, double beta1, double beta2, double correction1,
                       double correction2, double epsilon, double scale, double ema_decay, const T *restrict gradient,
                       const T *restrict w0, const T *restrict m0, const T *restrict v0, const T *restrict ema0,
                       T *restrict w, T *restrict m, T *restrict v, T *restrict ema) {
  T b1 = (T)beta1, b2 = (T)beta2, a1 = (T)(1 - beta1), a2 = (T)(1 - beta2), gs = (T)scale, eps = (T)epsilon;
  T step = (T)(rate / correction1), root = (T)(1 / correction2), keep = (T)(1 - ema_decay);
  for (int64_t start = 0; start < count; start += 1024) {
    int64_t end = start + 1024 < count ? start + 1024 : count;
    for (int64_t i = start; i < end; i++) {
      T g = gradient[i] * gs;
      m[i] = b1 * m0[i] + a1 * g;
      v[i] = b2 * v0[i] + a2 * g * g;
      w[i] = w0[i] - step * m[i] / (CK_SQRT(v[i] * root) + eps);
    }
    for (int64_t i = start; ema && i < end; i++) ema[i] = ema0[i] + keep * (w[i] - ema0[i]);
  }
}

#undef CK_FOR_PIECES
#undef CK_PIXEL
#undef CK_MOVE_CHANNELS
