/* The C interface of the flow kernels.
 *
 * Conventions, for every function below:
 *  - Images are NHWC. A batch of n images of height h is n·h *rows*; `row0 <= r < row1` selects rows of
 *    the batch, so that work can be split over threads within an image. Row r belongs to image r / h.
 *  - `xs`, `ys`, … are the distances, in elements, between neighbouring pixels of x, y, …: a half of the
 *    channels is addressed in place by its first element and the stride of the whole.
 *  - Arguments in the order sizes, constant inputs, outputs, workspace. Pointers don't alias unless said.
 *  - A kernel never allocates, prints, exits or starts a thread. The caller owns the workspace
 *    (`…_workspace` gives its size in elements) and may give different threads different ones.
 *  - The value of an output element depends on its inputs alone: not on row0 and row1, the batch, the
 *    position in the batch, or the number of threads, bit for bit.
 *  - Gradients with respect to inputs are overwritten; gradients of parameters are accumulated (+=).
 *  - Arrays that are `void *` hold elements of the type that comes first. Log-determinants are double.
 */
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ck_status {
  CK_OK = 0,
  CK_SINGULAR,      /* a matrix has no inverse at working precision */
  CK_NOT_FINITE,    /* an input holds NaN or infinity */
  CK_BAD_VARIANT    /* no such kernel variant on this processor */
} ck_status;

/* One line for people; never NULL. */
const char *ck_status_message(ck_status status);

/* ---- dispatch ---------------------------------------------------------------------------------
 * The variant is chosen once, at the first call: the best that the processor runs, or the one that the
 * environment variable AIPO_KERNELS names: reference, portable, avx2 or avx512 (x86-64) or neon (aarch64). */
const char *ck_variant(void);

/* Chooses a variant by name, for tests and benchmarks. Not to be called while a kernel runs; weights
 * packed under another variant must be packed again. */
ck_status ck_set_variant(const char *name);

/* The i-th variant that this processor can run, or NULL beyond the last. */
const char *ck_available_variant(int32_t i);

/* ---- convolution ------------------------------------------------------------------------------
 * y[i,j,o] = b[o] + sum over dy, dx, c of x[i+dy-1, j+dx-1, c] · w[dy,dx,c,o]      (kernel 3)
 * y[i,j,o] = b[o] + sum over c of x[i,j,c] · w[c,o]                                (kernel 1)
 * cross-correlation, stride 1, same size; pixels outside the image have the value `pad`. */
typedef struct ck_conv {
  int32_t height, width;
  int32_t in_channels, out_channels;
  int32_t kernel; /* 1 or 3 */
} ck_conv;

/* What happens to a value v on its way into y; flags add up, applied in this order. */
enum {
  CK_STORE = 0,
  CK_ADD = 1,  /* v + y: accumulates (residual connections, cotangents) */
  CK_RELU = 2, /* max(v, 0), and where a mask is given, writes it: the bit is set where the result is > 0 */
  CK_GATE = 4  /* v where the mask's bit is set, else 0: the derivative of that ReLU. Not with CK_RELU. */
};
/* A mask has one bit a value: [rows,w,CK_MASK_BYTES(out)], the bit of channel c is bit c % 8 of byte c / 8.
 * The bits beyond the last channel are written as 0. */
#define CK_MASK_BYTES(channels) (((channels) + 7) / 8)

/* How a coupling scales and shifts, with s and t from a net: y = (x + t)·e^l, or y = x·e^l + t if the shift is last.
 *  - CK_SIGMOID: e^l = σ(s + 2) + bias. Without a bias l is min(u, 0) − log1p(e^−|u|), u = s + 2: log(σ(u)) is −∞ at
 *    u = −90 in float32 although l = −90.
 *  - CK_SIGMOID_INVERSE: l = −log σ(s + 2).
 *  - CK_EXP: l = 2·tanh(s/2), bounded by ±2 by construction.
 *  - CK_EXP_UNBOUNDED: l = s, whose e^l overflows where s is large.
 *  - CK_ADDITIVE: l = 0. */
enum { CK_SIGMOID = 0, CK_EXP = 1, CK_ADDITIVE = 2, CK_EXP_UNBOUNDED = 3, CK_SIGMOID_INVERSE = 4 };
typedef struct ck_affine_form {
  int32_t kind;
  int32_t shift_last;
  double bias; /* only of CK_SIGMOID */
} ck_affine_form;

/* Monotone rational-quadratic splines on [−bound, bound]², the identity beyond. K = `bins` widths and heights from
 * softmaxes, none below CK_LEAST_SHARE of 2·bound; slopes at the K − 1 inner knots CK_LEAST_SLOPE + softplus(s + c), where
 * c makes s = 0 the slope 1, as it is at the ends: zeros are the identity. Computed in double.
 * Source: C. Durkan et al., Neural Spline Flows, NeurIPS 2019, §3.1 and appendix A.1. */
#define CK_MAX_BINS 64
#define CK_LEAST_SHARE 1e-3
#define CK_LEAST_SLOPE 1e-3
typedef struct ck_spline_form {
  int32_t bins; /* 2 to CK_MAX_BINS */
  double bound; /* above 0 */
} ck_spline_form;

/* Which rows of a sum over some are given. */
enum { CK_FIRST = 1, CK_LAST = 2 };

/* The element type of the arrays that are `void *` below. */
typedef enum ck_type { CK_FLOAT32 = 0, CK_FLOAT64 = 1 } ck_type;

/* Weights in the order the active variant reads them; repack when they change. */
size_t ck_conv_packed_count(ck_type type, const ck_conv *conv);
void ck_conv_pack(ck_type type, const ck_conv *conv, const void *w /* [k,k,in,out] */, void *packed);
/* The adjoint in x: a convolution of the *exchanged* shape (out -> in channels) with flipped,
 * transposed weights. `conv` is the original; use `packed` with its in and out exchanged. */
void ck_conv_pack_adjoint(ck_type type, const ck_conv *conv, const void *w /* [k,k,in,out] */, void *packed);
size_t ck_conv_workspace(ck_type type, const ck_conv *conv);
void ck_conv_fwd(ck_type type, const ck_conv *conv, int64_t row0, int64_t row1,
    const void *x /* [rows,w,in], stride xs */, int64_t xs, const void *packed,
    const void *bias /* [out] or NULL */, double pad, int32_t flags,
    uint8_t *mask /* [rows,w,CK_MASK_BYTES(out)] or NULL */,
    void *y /* [rows,w,out], stride ys */, int64_t ys, void *workspace);
/* dw += sum over pixels of patch(x) ⊗ g, dbias += sum over pixels of g, for rows row0..<row1,
 * which are whole images, or `piece` by piece (CK_FIRST, …, CK_LAST) of them, each piece but the
 * last a multiple of ck_conv_wgrad_block rows: the same bits, with sums in `carry` meanwhile (NULL
 * if the rows are whole images, CK_FIRST | CK_LAST). x and g have the rows around the piece, too.
 * The sums are cut into parts, of which a call adds part0..<part1: a value belongs to one part and
 * is summed over all pixels there in a fixed order, so that any distribution of the parts over
 * threads gives the same bits. */
int32_t ck_conv_wgrad_parts(ck_type type, const ck_conv *conv);
int32_t ck_conv_wgrad_block(ck_type type, const ck_conv *conv);
size_t ck_conv_wgrad_carry(ck_type type, const ck_conv *conv);
size_t ck_conv_wgrad_workspace(ck_type type, const ck_conv *conv);
void ck_conv_wgrad(ck_type type, const ck_conv *conv, int32_t part0, int32_t part1, int64_t row0,
    int64_t row1, int32_t piece, const void *x /* [rows,w,in] */, int64_t xs,
    double pad, const void *g /* [rows,w,out] */, int64_t gs, void *dw /* [k,k,in,out] */,
    void *dbias /* [out] or NULL */, void *carry, void *workspace);

/* ---- actnorm: y = (x + b)·e^s per channel, or its inverse; log|det| = ±h·w·Σs, added by the caller */
void ck_actnorm(ck_type type, int32_t direction, int64_t pixels, int32_t c, const void *b /* [c] */,
    const void *s /* [c] */, void *x /* [pixels,c], in place */);
/* Back through a direction, from its output and the output's cotangent to those of its input, in
 * place. x may be NULL: then the cotangent alone goes back, and there is no ds.
 * forward: db += Σ ȳe^s, ds += Σ ȳy; inverse: db -= Σ x̄, ds -= Σ x̄(x + b). (ds from the log-det:
 * caller.) */
void ck_actnorm_vjp(ck_type type, int32_t direction, int64_t pixels, int32_t c, const void *b, const void *s,
    void *x /* [pixels,c] or NULL */, void *xbar /* [pixels,c] */,
    double *db /* [c] or NULL */, double *ds /* [c] or NULL */);
/* Mean and variance of every channel over the pixels, in double. */
void ck_moments(ck_type type, int64_t pixels, int32_t c, const void *x, double *mean /* [c] */,
    double *variance /* [c] */);

/* ---- coupling transform of `ct` channels of each pixel, as ck_affine_form says -----------------------
 * net output h[.., 0..<ct] = t, h[.., ct..<2ct] = s (additive: h = t, ct channels).
 * parity −1: all pixels; 0 or 1: only pixels with (i + j) mod 2 = parity are transformed.
 * logdet_rows[r], if not NULL, is overwritten with the row's Σl, or −Σl. `rows` index h·w images of
 * `height`. `slopes`, if not NULL, gets what the way back through the direction `slopes_of` needs;
 * unused by CK_ADDITIVE. Three planes a row:
 *   forward: e^l, u·e^l·dl/ds, dl/ds; inverse: e^−l, u·dl/ds, dl/ds, with u = x + t, or x if the
 *   shift is last. */
void ck_affine(ck_type type, const ck_affine_form *affine, int32_t direction, int32_t parity, int32_t height,
    int32_t width, int32_t ct, int64_t row0, int64_t row1, const void *h /* [rows,w,2ct] dense */,
    void *x /* [rows,w,ct], stride xs, in place */, int64_t xs, double *logdet_rows,
    int32_t slopes_of, void *slopes /* [rows,3,w·ct] or NULL */);
/* Back through a direction: its output's cotangent becomes its input's, and h̄ is written (zero for
 * pixels that aren't transformed). lbar: cotangents of the images' log-determinants ±Σl. */
void ck_affine_vjp(ck_type type, const ck_affine_form *affine, int32_t direction, int32_t parity, int32_t height,
    int32_t width, int32_t ct, int64_t row0, int64_t row1,
    const void *slopes /* [rows,3,w·ct] */, const double *lbar /* [images] */,
    void *xbar /* [rows,w,ct], stride xs, in place */, int64_t xs,
    void *hbar /* [rows,w,2ct] */);
/* ---- spline transform, like ck_affine with 3K−1 numbers a value: K of widths, K of heights, K−1 of
 * slopes, h[.., j·ct + k] the j-th of channel k. `trace`, if not NULL, gets what the way back needs:
 * of each value x, whichever way, and its numbers. */
void ck_spline(ck_type type, const ck_spline_form *spline, int32_t direction, int32_t parity, int32_t height,
    int32_t width, int32_t ct, int64_t row0, int64_t row1,
    const void *h /* [rows,w,(3K-1)ct] dense */, void *x /* [rows,w,ct], in place */,
    int64_t xs, double *logdet_rows, void *trace /* [rows,w,ct,3K] or NULL */);
void ck_spline_vjp(ck_type type, const ck_spline_form *spline, int32_t direction, int32_t parity, int32_t height,
    int32_t width, int32_t ct, int64_t row0, int64_t row1,
    const void *trace /* [rows,w,ct,3K] */, const double *lbar /* [images] */,
    void *xbar /* [rows,w,ct], in place */, int64_t xs,
    void *hbar /* [rows,w,(3K-1)ct] */);
/* ---- logistic: y = σ(x); log|det| = Σ log σ(x) + log σ(−x) ------------------------------------- */
void ck_logistic_fwd(ck_type type, int64_t count, void *x /* in place */, double *logdet /* added */);
void ck_logistic_inv(ck_type type, int64_t count, void *y /* in place */, double *logdet /* added */);
void ck_logistic_fwd_vjp(ck_type type, int64_t count, double lbar, void *y, void *ybar);
void ck_logistic_inv_vjp(ck_type type, int64_t count, double lbar, void *x, void *xbar);

/* ---- SiLU: y = u·σ(u), and its slope σ(u)(1 + u(1 − σ(u))) ------------------------------------- */
void ck_silu(ck_type type, int64_t count, const void *u, void *y /* may be u */, void *slope /* may be u, or NULL */);

/* ---- moving channels ----------------------------------------------------------------------------
 * squeeze: z[i,j,4c+2dy+dx] = x[2i+dy,2j+dx,c]; h, w, c are those of x, and rows those of z. */
void ck_squeeze(ck_type type, int32_t h, int32_t w, int32_t c, int64_t row0, int64_t row1, const void *x, void *z);
void ck_unsqueeze(ck_type type, int32_t h, int32_t w, int32_t c, int64_t row0, int64_t row1, const void *z,
    void *x);
/* y[p, 0..<c] = x[p, 0..<c] */
void ck_copy_channels(ck_type type, int64_t pixels, int32_t c, const void *x, int64_t xs, void *y, int64_t ys);
/* y = x where (i + j) mod 2 = parity, else 0; dense. add != 0: y += that. */
void ck_checkerboard(ck_type type, int32_t parity, int32_t add, int32_t height, int32_t width, int32_t c,
    int64_t row0, int64_t row1, const void *x, void *y);

/* ---- sums ------------------------------------------------------------------------------------ */
double ck_dot(ck_type type, int64_t count, const void *x, const void *y);
/* Exact sums of doubles: the same bits whatever the order and whoever has which part, correctly rounded in the end. A sum is
 * CK_EXACT_SUM integers that begin at 0: ck_exact_add adds numbers to it, ck_exact_merge another sum (which ck_exact_carry has
 * brought in its final form), ck_exact_value rounds it. Source: R. M. Neal, Fast exact summation using small and large
 * superaccumulators, arXiv:1505.05571. */
enum { CK_EXACT_SUM = 72 };
typedef struct ck_exact_sum {
  int64_t integers[CK_EXACT_SUM];
} ck_exact_sum;
void ck_exact_add(int64_t count, const double *x, int64_t *sum);
void ck_exact_carry(int64_t *sum);
void ck_exact_merge(const int64_t *other, int64_t *sum);
double ck_exact_value(int64_t *sum);
/* y *= x */
void ck_multiply_by(ck_type type, int64_t count, const void *x, void *y);
/* sum[k] += Σ_p x[p·xs + k] for k < c, in the pixels' order. */
void ck_sum_pixels(ck_type type, int64_t pixels, int32_t c, const void *x, int64_t xs, void *sum);
/* y = a·x + b·y; b = 0 doesn't read y. x may be y. */
void ck_axpby(ck_type type, int64_t count, double a, const void *x, double b, void *y);

/* ---- Adam (Kingma & Ba, ICLR 2015) and an exponential moving average of the weights ------------
 * m = β₁m₀ + (1−β₁)g;  v = β₂v₀ + (1−β₂)g²;  w = w₀ − rate·(m/c₁)/(√(v/c₂) + ε);
 * ema = ema₀ + (1−decay)(w−ema₀), with g = scale · gradient. No two arrays are the same; ema₀ and
 * ema may be NULL. */
void ck_adam(ck_type type, int64_t count, double rate, double beta1, double beta2, double correction1,
    double correction2, double epsilon, double scale, double ema_decay,
    const void *gradient, const void *w0, const void *m0, const void *v0, const void *ema0, void *w,
    void *m, void *v, void *ema);

enum { CK_FORWARD = 0, CK_INVERSE = 1 };

/* ---- small dense matrices (LAPACK), double ----------------------------------------------------
 * Inverse and log|det| of a [c,c] row-major matrix by LU with partial pivoting. log|det| is the sum of
 * log|u_ii|: the product of the u_ii under- or overflows where the sum doesn't.
 * pivots: c integers; work: c·c doubles. CK_SINGULAR when a pivot is zero or the inverse isn't finite. */
ck_status ck_invert(int32_t c, const double *w /* [c,c] */, double *inverse /* [c,c] */,
    double *log_abs_det, int32_t *pivots, double *work);

/* Processors that this process may run on, at least 1. */
int32_t ck_available_cores(void);

/* A hint to the processor that this thread waits in a loop. */
static inline void ck_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

#ifdef __cplusplus
}
#endif
#endif
