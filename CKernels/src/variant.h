/* The dispatch table: what a variant provides. Elementwise kernels are compiled from one source for every
 * variant; convolutions have a readable reference and a vectorised implementation. */
#ifndef VARIANT_H
#define VARIANT_H

#include "ckernels.h"

/* Calls X(return type, name, parameters, arguments) for every kernel of element type T. */
#define CK_KERNELS(X, T)                                                                              \
  X(size_t, conv_packed_count, (const ck_conv *conv), (conv))                                         \
  X(void, conv_pack, (const ck_conv *conv, const T *w, T *packed), (conv, w, packed))                 \
  X(void, conv_pack_adjoint, (const ck_conv *conv, const T *w, T *packed), (conv, w, packed))         \
  X(size_t, conv_workspace, (const ck_conv *conv), (conv))                                            \
  X(void, conv_fwd,                                                                                   \
    (const ck_conv *conv, int64_t row0, int64_t row1, const T *x, int64_t xs, const T *packed,        \
     const T *bias, double pad, int32_t flags, uint8_t *mask, T *y, int64_t ys, T *workspace),             \
    (conv, row0, row1, x, xs, packed, bias, pad, flags, mask, y, ys, workspace))                      \
  X(int32_t, conv_wgrad_parts, (const ck_conv *conv), (conv))                                         \
  X(int32_t, conv_wgrad_block, (const ck_conv *conv), (conv))                                         \
  X(size_t, conv_wgrad_carry, (const ck_conv *conv), (conv))                                          \
  X(size_t, conv_wgrad_workspace, (const ck_conv *conv), (conv))                                      \
  X(void, conv_wgrad,                                                                                 \
    (const ck_conv *conv, int32_t part0, int32_t part1, int64_t row0, int64_t row1, int32_t piece,    \
     const T *x, int64_t xs, double pad, const T *g, int64_t gs, T *dw, T *dbias, T *carry, T *workspace), \
    (conv, part0, part1, row0, row1, piece, x, xs, pad, g, gs, dw, dbias, carry, workspace))          \
  X(void, actnorm, (int32_t direction, int64_t pixels, int32_t c, const T *b, const T *s, T *x),       \
    (direction, pixels, c, b, s, x))                                                                  \
  X(void, actnorm_vjp,                                                                                \
    (int32_t direction, int64_t pixels, int32_t c, const T *b, const T *s, T *x, T *xbar, double *db, \
     double *ds),                                                                                     \
    (direction, pixels, c, b, s, x, xbar, db, ds))                                                    \
  X(void, moments, (int64_t pixels, int32_t c, const T *x, double *mean, double *variance),           \
    (pixels, c, x, mean, variance))                                                                   \
  X(void, affine,                                                                                     \
    (const ck_affine_form *affine, int32_t direction, int32_t parity, int32_t height, int32_t width,       \
     int32_t ct, int64_t row0, int64_t row1, const T *h, T *x, int64_t xs, double *logdet_rows, int32_t slopes_of, \
     T *slopes),                                                                                      \
    (affine, direction, parity, height, width, ct, row0, row1, h, x, xs, logdet_rows, slopes_of, slopes)) \
  X(void, affine_vjp,                                                                                 \
    (const ck_affine_form *affine, int32_t direction, int32_t parity, int32_t height, int32_t width,       \
     int32_t ct, int64_t row0, int64_t row1, const T *slopes, const double *lbar, T *xbar, int64_t xs, T *hbar),  \
    (affine, direction, parity, height, width, ct, row0, row1, slopes, lbar, xbar, xs, hbar))           \
  X(void, spline,                                                                                     \
    (const ck_spline_form *spline, int32_t direction, int32_t parity, int32_t height, int32_t width,       \
     int32_t ct, int64_t row0, int64_t row1, const T *h, T *x, int64_t xs, double *logdet_rows,       \
     T *trace),                                                                                       \
    (spline, direction, parity, height, width, ct, row0, row1, h, x, xs, logdet_rows, trace))         \
  X(void, spline_vjp,                                                                                 \
    (const ck_spline_form *spline, int32_t direction, int32_t parity, int32_t height, int32_t width,       \
     int32_t ct, int64_t row0, int64_t row1, const T *trace, const double *lbar, T *xbar, int64_t xs, \
     T *hbar),                                                                                        \
    (spline, direction, parity, height, width, ct, row0, row1, trace, lbar, xbar, xs, hbar))          \
  X(void, logistic_fwd, (int64_t count, T *x, double *logdet), (count, x, logdet))                    \
  X(void, logistic_inv, (int64_t count, T *y, double *logdet), (count, y, logdet))                    \
  X(void, logistic_fwd_vjp, (int64_t count, double lbar, T *y, T *ybar), (count, lbar, y, ybar))      \
  X(void, logistic_inv_vjp, (int64_t count, double lbar, T *x, T *xbar), (count, lbar, x, xbar))      \
  X(void, silu, (int64_t count, const T *u, T *y, T *slope), (count, u, y, slope))                    \
  X(void, squeeze, (int32_t h, int32_t w, int32_t c, int64_t row0, int64_t row1, const T *x, T *z),   \
    (h, w, c, row0, row1, x, z))                                                                      \
  X(void, unsqueeze, (int32_t h, int32_t w, int32_t c, int64_t row0, int64_t row1, const T *z, T *x), \
    (h, w, c, row0, row1, z, x))                                                                      \
  X(void, copy_channels, (int64_t pixels, int32_t c, const T *x, int64_t xs, T *y, int64_t ys),       \
    (pixels, c, x, xs, y, ys))                                                                        \
  X(void, checkerboard,                                                                               \
    (int32_t parity, int32_t add, int32_t height, int32_t width, int32_t c, int64_t row0,             \
     int64_t row1, const T *x, T *y),                                                                 \
    (parity, add, height, width, c, row0, row1, x, y))                                                \
  X(double, dot, (int64_t count, const T *x, const T *y), (count, x, y))                              \
  X(void, multiply_by, (int64_t count, const T *x, T *y), (count, x, y))                              \
  X(void, sum_pixels, (int64_t pixels, int32_t c, const T *x, int64_t xs, T *sum), (pixels, c, x, xs, sum)) \
  X(void, axpby, (int64_t count, double a, const T *x, double b, T *y), (count, a, x, b, y))                    \
  X(void, adam,                                                                                       \
    (int64_t count, double rate, double beta1, double beta2, double correction1, double correction2,  \
     double epsilon, double scale, double ema_decay, const T *gradient, const T *w0, const T *m0,     \
     const T *v0, const T *ema0, T *w, T *m, T *v, T *ema),                                           \
    (count, rate, beta1, beta2, correction1, correction2, epsilon, scale, ema_decay, gradient, w0,    \
     m0, v0, ema0, w, m, v, ema))

#define CK_FIELD(R, name, parameters, arguments) R(*name) parameters;
typedef struct ck_table_f32 {
  CK_KERNELS(CK_FIELD, float)
} ck_table_f32;
typedef struct ck_table_f64 {
  CK_KERNELS(CK_FIELD, double)
} ck_table_f64;
#undef CK_FIELD

typedef struct ck_variant_t {
  const char *name;
  int (*runs_here)(void);
  const ck_table_f32 *f32;
  const ck_table_f64 *f64;
} ck_variant_t;

extern const ck_variant_t ck_variant_reference;
extern const ck_variant_t ck_variant_portable;
#if defined(__x86_64__)
extern const ck_variant_t ck_variant_avx2;
extern const ck_variant_t ck_variant_avx512;
#elif defined(__aarch64__)
extern const ck_variant_t ck_variant_neon;
#endif

#endif
