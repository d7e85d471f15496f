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

static void NAME(actnorm_fwd)(int64_t pixels, int32_t c, const T *b, const T *s, T *x) {
  T scale[CK_MAX_STACK];
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t m = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    for (int32_t k = 0; k < m; k++) scale[k] = NAME(exp_)(s[k0 + k]);
    for (int64_t p = 0; p < pixels; p++) {
      T *xp = x + p * c + k0;
      for (int32_t k = 0; k < m; k++) xp[k] = (xp[k] + b[k0 + k]) * scale[k];
    }
  }
}

static void NAME(actnorm_inv)(int64_t pixels, int32_t c, const T *b, const T *s, T *y) {
  T scale[CK_MAX_STACK];
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t m = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    for (int32_t k = 0; k < m; k++) scale[k] = 1 / NAME(exp_)(s[k0 + k]);
    for (int64_t p = 0; p < pixels; p++) {
      T *yp = y + p * c + k0;
      for (int32_t k = 0; k < m; k++) {
        T x = yp[k] * scale[k];
        yp[k] = x - b[k0 + k];
      }
    }
  }
}

static void NAME(actnorm_fwd_vjp)(int64_t pixels, int32_t c, const T *b, const T *s, T *y, T *ybar, double *db,
                                  double *ds) {
  T scale[CK_MAX_STACK], unscale[CK_MAX_STACK];
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t m = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    for (int32_t k = 0; k < m; k++) {
      scale[k] = NAME(exp_)(s[k0 + k]);
      unscale[k] = 1 / scale[k];
    }
    for (int64_t p = 0; p < pixels; p++) {
      T *yp = y + p * c + k0, *gp = ybar + p * c + k0;
      if (ds)
        for (int32_t k = 0; k < m; k++) ds[k0 + k] += (double)gp[k] * (double)yp[k];
      for (int32_t k = 0; k < m; k++) {
        T x = yp[k] * unscale[k];
        yp[k] = x - b[k0 + k];
        gp[k] = gp[k] * scale[k];
      }
      if (db)
        for (int32_t k = 0; k < m; k++) db[k0 + k] += (double)gp[k];
    }
  }
}

static void NAME(actnorm_inv_vjp)(int64_t pixels, int32_t c, const T *b, const T *s, T *x, T *xbar, double *db,
                                  double *ds) {
  T scale[CK_MAX_STACK], unscale[CK_MAX_STACK];
  for (int32_t k0 = 0; k0 < c; k0 += CK_MAX_STACK) {
    int32_t m = c - k0 < CK_MAX_STACK ? c - k0 : CK_MAX_STACK;
    for (int32_t k = 0; k < m; k++) {
      scale[k] = NAME(exp_)(s[k0 + k]);
      unscale[k] = 1 / scale[k];
    }
    for (int64_t p = 0; p < pixels; p++) {
      T *xp = x + p * c + k0, *gp = xbar + p * c + k0;
      if (db)
        for (int32_t k = 0; k < m; k++) db[k0 + k] -= (double)gp[k];
      if (ds)
        for (int32_t k = 0; k < m; k++) ds[k0 + k] -= (double)gp[k] * (double)(xp[k] + b[k0 + k]);
      for (int32_t k = 0; k < m; k++) {
        xp[k] = (xp[k] + b[k0 + k]) * scale[k];
        gp[k] = gp[k] * unscale[k];
      }
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

/* From s: scale e^l and log-scale l, and, if slope isn't NULL, dl/ds. */
static inline void NAME(log_scales)(int32_t kind, int32_t count, const T *s, T *scale, T *l, T *slope) {
  if (kind == CK_SIGMOID) {
    for (int32_t k = 0; k < count; k++) {
      T u = s[k] + 2;
      T e = NAME(exp_)(-NAME(abs_)(u)); /* in (0, 1] */
      T denominator = 1 / (1 + e);
      T small = e * denominator; /* σ(−|u|) */
      scale[k] = u < 0 ? small : denominator;
      l[k] = (u < 0 ? u : 0) - NAME(log1p_)(e);
      if (slope) slope[k] = u < 0 ? denominator : small;
    }
  } else if (kind == CK_EXP_UNBOUNDED) {
    for (int32_t k = 0; k < count; k++) {
      l[k] = s[k];
      scale[k] = NAME(exp_)(s[k]);
      if (slope) slope[k] = 1;
    }
  } else {
    for (int32_t k = 0; k < count; k++) {
      T e = NAME(exp_)(-NAME(abs_)(s[k]));
      T t = (1 - e) / (1 + e); /* tanh(|s|/2) */
      t = s[k] < 0 ? -t : t;
      l[k] = 2 * t;
      scale[k] = NAME(exp_)(2 * t);
      if (slope) slope[k] = 1 - t * t;
    }
  }
}

/* First pixel column of row r that is transformed, and the step to the next. */
static inline int32_t NAME(first)(int32_t parity, int32_t height, int64_t r) {
  return parity < 0 ? 0 : (int32_t)(((r % height) + parity) & 1);
}

#define CK_FOR_CHUNKS                                                            \
  int32_t step = parity < 0 ? 1 : 2, first = NAME(first)(parity, height, r);     \
  int32_t columns = (width - first + step - 1) / step;                           \
  int32_t per = CK_MAX_STACK / ct > 0 ? CK_MAX_STACK / ct : 1;                   \
  for (int32_t q0 = 0; q0 < columns; q0 += per)

#define CK_CHUNK_SIZE (columns - q0 < per ? columns - q0 : per)
#define CK_PIXEL(q) (r * width + first + (int64_t)step * (q0 + (q)))

static void NAME(affine_fwd)(int32_t kind, int32_t parity, int32_t height, int32_t width, int32_t ct, int64_t row0,
                             int64_t row1, const T *h, T *x, int64_t xs, double *logdet_rows) {
  T s[CK_MAX_STACK], scale[CK_MAX_STACK], l[CK_MAX_STACK];
  int32_t hs = kind == CK_ADDITIVE ? ct : 2 * ct;
  for (int64_t r = row0; r < row1; r++) {
    double sum = 0;
    CK_FOR_CHUNKS {
      int32_t m = CK_CHUNK_SIZE;
      if (kind == CK_ADDITIVE) {
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < ct; k++) x[CK_PIXEL(q) * xs + k] += h[CK_PIXEL(q) * hs + k];
        continue;
      }
      for (int32_t k0 = 0; k0 < ct; k0 += CK_MAX_STACK) {
        int32_t cm = ct - k0 < CK_MAX_STACK ? ct - k0 : CK_MAX_STACK;
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) s[q * cm + k] = h[CK_PIXEL(q) * hs + ct + k0 + k];
        NAME(log_scales)(kind, m * cm, s, scale, l, NULL);
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) {
            T *v = x + CK_PIXEL(q) * xs + k0 + k;
            *v = (*v + h[CK_PIXEL(q) * hs + k0 + k]) * scale[q * cm + k];
          }
        for (int32_t i = 0; i < m * cm; i++) sum += (double)l[i];
      }
    }
    logdet_rows[r] = sum;
  }
}

static void NAME(affine_inv)(int32_t kind, int32_t parity, int32_t height, int32_t width, int32_t ct, int64_t row0,
                             int64_t row1, const T *h, T *y, int64_t ys, double *logdet_rows) {
  T s[CK_MAX_STACK], scale[CK_MAX_STACK], l[CK_MAX_STACK];
  int32_t hs = kind == CK_ADDITIVE ? ct : 2 * ct;
  for (int64_t r = row0; r < row1; r++) {
    double sum = 0;
    CK_FOR_CHUNKS {
      int32_t m = CK_CHUNK_SIZE;
      if (kind == CK_ADDITIVE) {
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < ct; k++) y[CK_PIXEL(q) * ys + k] -= h[CK_PIXEL(q) * hs + k];
        continue;
      }
      for (int32_t k0 = 0; k0 < ct; k0 += CK_MAX_STACK) {
        int32_t cm = ct - k0 < CK_MAX_STACK ? ct - k0 : CK_MAX_STACK;
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) s[q * cm + k] = h[CK_PIXEL(q) * hs + ct + k0 + k];
        NAME(log_scales)(kind, m * cm, s, scale, l, NULL);
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) {
            T *v = y + CK_PIXEL(q) * ys + k0 + k;
            *v = *v / scale[q * cm + k] - h[CK_PIXEL(q) * hs + k0 + k];
          }
        for (int32_t i = 0; i < m * cm; i++) sum -= (double)l[i];
      }
    }
    logdet_rows[r] = sum;
  }
}

/* hbar is zero where a pixel isn't transformed. */
static inline void NAME(clear_untouched)(int32_t parity, int32_t height, int32_t width, int32_t hs, int64_t r,
                                         T *hbar) {
  if (parity < 0) return;
  for (int32_t j = 1 - NAME(first)(parity, height, r); j < width; j += 2)
    for (int32_t k = 0; k < hs; k++) hbar[(r * width + j) * hs + k] = 0;
}

static void NAME(affine_fwd_vjp)(int32_t kind, int32_t parity, int32_t height, int32_t width, int32_t ct,
                                 int64_t row0, int64_t row1, const T *h, const double *lbar, T *y, int64_t ys,
                                 T *ybar, int64_t ybs, T *hbar) {
  T s[CK_MAX_STACK], scale[CK_MAX_STACK], l[CK_MAX_STACK], slope[CK_MAX_STACK];
  int32_t hs = kind == CK_ADDITIVE ? ct : 2 * ct;
  for (int64_t r = row0; r < row1; r++) {
    NAME(clear_untouched)(parity, height, width, hs, r, hbar);
    T lb = (T)lbar[r / height];
    CK_FOR_CHUNKS {
      int32_t m = CK_CHUNK_SIZE;
      if (kind == CK_ADDITIVE) {
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < ct; k++) {
            int64_t p = CK_PIXEL(q);
            y[p * ys + k] -= h[p * hs + k];
            hbar[p * hs + k] = ybar[p * ybs + k];
          }
        continue;
      }
      for (int32_t k0 = 0; k0 < ct; k0 += CK_MAX_STACK) {
        int32_t cm = ct - k0 < CK_MAX_STACK ? ct - k0 : CK_MAX_STACK;
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) s[q * cm + k] = h[CK_PIXEL(q) * hs + ct + k0 + k];
        NAME(log_scales)(kind, m * cm, s, scale, l, slope);
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) {
            int64_t p = CK_PIXEL(q);
            T *v = y + p * ys + k0 + k, *g = ybar + p * ybs + k0 + k;
            hbar[p * hs + ct + k0 + k] = (*g * *v + lb) * slope[q * cm + k];
            *v = *v / scale[q * cm + k] - h[p * hs + k0 + k];
            *g *= scale[q * cm + k];
            hbar[p * hs + k0 + k] = *g;
          }
      }
    }
  }
}

static void NAME(affine_inv_vjp)(int32_t kind, int32_t parity, int32_t height, int32_t width, int32_t ct,
                                 int64_t row0, int64_t row1, const T *h, const double *lbar, T *x, int64_t xs,
                                 T *xbar, int64_t xbs, T *hbar) {
  T s[CK_MAX_STACK], scale[CK_MAX_STACK], l[CK_MAX_STACK], slope[CK_MAX_STACK];
  int32_t hs = kind == CK_ADDITIVE ? ct : 2 * ct;
  for (int64_t r = row0; r < row1; r++) {
    NAME(clear_untouched)(parity, height, width, hs, r, hbar);
    T lb = (T)lbar[r / height];
    CK_FOR_CHUNKS {
      int32_t m = CK_CHUNK_SIZE;
      if (kind == CK_ADDITIVE) {
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < ct; k++) {
            int64_t p = CK_PIXEL(q);
            x[p * xs + k] += h[p * hs + k];
            hbar[p * hs + k] = -xbar[p * xbs + k];
          }
        continue;
      }
      for (int32_t k0 = 0; k0 < ct; k0 += CK_MAX_STACK) {
        int32_t cm = ct - k0 < CK_MAX_STACK ? ct - k0 : CK_MAX_STACK;
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) s[q * cm + k] = h[CK_PIXEL(q) * hs + ct + k0 + k];
        NAME(log_scales)(kind, m * cm, s, scale, l, slope);
        for (int32_t q = 0; q < m; q++)
          for (int32_t k = 0; k < cm; k++) {
            int64_t p = CK_PIXEL(q);
            T *v = x + p * xs + k0 + k, *g = xbar + p * xbs + k0 + k;
            T shifted = *v + h[p * hs + k0 + k];
            hbar[p * hs + k0 + k] = -*g;
            hbar[p * hs + ct + k0 + k] = (-*g * shifted - lb) * slope[q * cm + k];
            *v = shifted * scale[q * cm + k];
            *g = *g / scale[q * cm + k];
          }
      }
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

static void NAME(silu_fwd)(int64_t count, const T *u, T *y) {
  for (int64_t i = 0; i < count; i++) {
    T e = NAME(exp_)(-NAME(abs_)(u[i]));
    y[i] = u[i] * (u[i] < 0 ? e : 1) / (1 + e);
  }
}

static void NAME(silu_vjp)(int64_t count, const T *u, T *ybar) {
  for (int64_t i = 0; i < count; i++) {
    T e = NAME(exp_)(-NAME(abs_)(u[i]));
    T d = 1 / (1 + e);
    T sigma = u[i] < 0 ? e * d : d, other = u[i] < 0 ? d : e * d;
    ybar[i] *= sigma * (1 + u[i] * other);
  }
}

static void NAME(relu_fwd)(int64_t count, const T *u, T *y) {
  for (int64_t i = 0; i < count; i++) y[i] = u[i] > 0 ? u[i] : 0;
}

static void NAME(relu_vjp)(int64_t count, const T *y, T *ybar) {
  for (int64_t i = 0; i < count; i++) ybar[i] = y[i] > 0 ? ybar[i] : 0;
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
  for (int64_t p = 0; p < pixels; p++)
    for (int32_t k = 0; k < c; k++) y[p * ys + k] = x[p * xs + k];
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

static double NAME(sum_squares)(int64_t count, const T *x) { return NAME(dot)(count, x, x); }

static void NAME(add)(int64_t count, const T *x, T *y) {
  for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

static void NAME(adam)(int64_t count, double rate, double beta1, double beta2, double correction1,
                       double correction2, double epsilon, double scale, double ema_decay, const T *gradient,
                       T *w, T *m, T *v, T *ema) {
  T b1 = (T)beta1, b2 = (T)beta2, a1 = (T)(1 - beta1), a2 = (T)(1 - beta2), gs = (T)scale, eps = (T)epsilon;
  T step = (T)(rate / correction1), root = (T)(1 / correction2), keep = (T)(1 - ema_decay);
  for (int64_t i = 0; i < count; i++) {
    T g = gradient[i] * gs;
    m[i] = b1 * m[i] + a1 * g;
    v[i] = b2 * v[i] + a2 * g * g;
    w[i] -= step * m[i] / (CK_SQRT(v[i] * root) + eps);
    ema[i] += keep * (w[i] - ema[i]);
  }
}

#undef CK_FOR_CHUNKS
#undef CK_CHUNK_SIZE
#undef CK_PIXEL
