/* Convolutions as implicit matrix products, for one variant and one type: included with T, NAME(x) and
 * CK_VBYTES (bytes of a vector register) defined.
 *
 * Weights are packed once into the product's panels. Two ways to turn a 3×3 convolution into such a product, by which
 * side has fewer channels:
 *   gather (in <= out):  the few input channels are copied into an image with a border; a pixel's patch is then
 *                        3 contiguous runs of 3·in values, read in place: K = 9·in, N = out.
 *   scatter (in > out):  every pixel is multiplied by all nine taps at once, K = in, N = 9·out, and the nine
 *                        partial results are added at their shifted places.
 * Each output sums over K in one fixed order, so results don't depend on how pixels are split. */

#include "conv_product.h"

#ifndef CK_BLOCK
#define CK_BLOCK 240 /* pixels of a block of the product; a multiple of CK_MR */

/* The channel counts for which loops over channels are compiled with a constant bound. */
#define CK_CONSTANT_CHANNELS(X) X(1) X(2) X(4) X(6) X(8) X(12) X(16) X(24)
#endif

static inline int NAME(scatters)(const ck_conv *v) { return v->kernel == 3 && v->in_channels > v->out_channels; }

/* Columns and depth of the matrix product. */
static inline int32_t NAME(columns)(const ck_conv *v) {
  return NAME(scatters)(v) ? 9 * v->out_channels : v->out_channels;
}
static inline int32_t NAME(depth)(const ck_conv *v) {
  return NAME(scatters)(v) || v->kernel == 1 ? v->in_channels : 9 * v->in_channels;
}
static size_t NAME(conv_packed_count)(const ck_conv *v) {
  size_t count = (size_t)NAME(padded_columns)(NAME(columns)(v)) * (size_t)NAME(depth)(v);
  /* for a scatter, the sum of each tap over the input channels, which a padding value is multiplied by */
  return count + (NAME(scatters)(v) ? 9 * (size_t)v->out_channels : 0);
}

/* Weights as they are given: the element of (tap, in, out) is at[tap·tap_step + in·in_step + out·out_step]. A
 * convolution has out_step 1, its adjoint in_step 1. */
typedef struct NAME(weights) {
  const T *at;
  int64_t tap_step, in_step, out_step;
} NAME(weights);

/* to[k·width + q] = from[k·in_step + q·out_step] for k < depth and q < columns. */
static void NAME(pack_block)(int32_t depth, int32_t columns, const NAME(weights) *w, const T *from, T *to,
                             int32_t width) {
  int32_t k4 = 0, q4 = columns & ~3;
  if (w->out_step == 1) {
    k4 = depth;
    for (int32_t k = 0; k < depth; k++)
      for (int32_t q = 0; q < q4; q += 4)
        *(NAME(quad) *)(to + k * width + q) = *(const NAME(quad) *)(from + k * w->in_step + q);
  } else if (w->in_step == 1) {
    k4 = depth & ~3;
    for (int32_t q = 0; q < q4; q += 4)
      for (int32_t k = 0; k < k4; k += 4) {
        NAME(quad) block[4];
        for (int i = 0; i < 4; i++) block[i] = *(const NAME(quad) *)(from + k + (q + i) * w->out_step);
        NAME(transpose)(block);
        for (int i = 0; i < 4; i++) *(NAME(quad) *)(to + (k + i) * width + q) = block[i];
      }
  }
  for (int32_t k = 0; k < depth; k++)
    for (int32_t q = k < k4 ? q4 : 0; q < columns; q++)
      to[k * width + q] = from[k * w->in_step + q * w->out_step];
}

static void NAME(pack)(const ck_conv *v, const NAME(weights) *w, T *packed) {
  int32_t n = NAME(columns)(v), ci = v->in_channels, co = v->out_channels;
  int32_t taps = NAME(depth)(v) / ci; /* in the depth; a scatter has them in the columns */
  for (int32_t n0 = 0, width; n0 < n; n0 += width) {
    width = NAME(panel_vectors)(n, n0) * CK_V;
    int32_t end = n0 + width < n ? n0 + width : n;
    for (int32_t t = 0; t < taps; t++, packed += (int64_t)ci * width) {
      for (int32_t q = n0, next; q < end; q = next) {
        int32_t tap = NAME(scatters)(v) ? q / co : t, o = NAME(scatters)(v) ? q % co : q;
        next = q - o + co < end ? q - o + co : end;
        NAME(pack_block)(ci, next - q, w, w->at + tap * w->tap_step + o * w->out_step, packed + (q - n0), width);
      }
      for (int32_t k = 0; k < ci; k++)
        for (int32_t q = end - n0; q < width; q++) packed[k * width + q] = 0;
    }
  }
}

static void NAME(conv_pack)(const ck_conv *v, const T *w, T *packed) {
  int32_t ci = v->in_channels, co = v->out_channels;
  NAME(weights) weights = {w, (int64_t)ci * co, co, 1};
  NAME(pack)(v, &weights, packed);
  if (!NAME(scatters)(v)) return;
  T *sums = packed + NAME(conv_packed_count)(v) - 9 * co;
  for (int32_t t = 0; t < 9; t++, sums += co) {
    for (int32_t o = 0; o < co; o++) sums[o] = 0;
    for (int32_t c = 0; c < ci; c++)
      for (int32_t o = 0; o < co; o++) sums[o] += w[((int64_t)t * ci + c) * co + o];
  }
}

static void NAME(conv_pack_adjoint)(const ck_conv *v, const T *w, T *packed) {
  ck_conv a = *v;
  a.in_channels = v->out_channels;
  a.out_channels = v->in_channels;
  int64_t tap = (int64_t)v->in_channels * v->out_channels, last = (v->kernel * v->kernel - 1) * tap;
  NAME(weights) weights = {w + last, -tap, 1, v->out_channels};
  NAME(pack)(&a, &weights, packed);
  T *end = packed + NAME(conv_packed_count)(&a);
  for (int32_t o = 0; NAME(scatters)(&a) && o < 9 * a.out_channels; o++) *--end = 0; /* its padding is 0 */
}

/* ---- forward ---- */

/* Rows of a gathered block: as many as make about CK_BLOCK pixels. */
static inline int64_t NAME(block_rows)(const ck_conv *v) {
  int64_t rows = CK_BLOCK / v->width;
  return rows > 0 ? rows : 1;
}

static inline int64_t NAME(partial_stride)(const ck_conv *v) { return NAME(padded_columns)(9 * v->out_channels); }

static size_t NAME(conv_workspace)(const ck_conv *v) {
  size_t rows = (size_t)NAME(block_rows)(v), w = (size_t)v->width;
  size_t pointers = (rows * w + 64) * sizeof(T *) / sizeof(T) + 64;
  if (v->kernel == 1) return pointers;
  if (NAME(scatters)(v)) return pointers + (rows + 4) * w * (size_t)NAME(partial_stride)(v);
  /* every row may begin a new image, with a border above and below */
  return pointers + 3 * rows * (w + 2) * (size_t)v->in_channels;
}

/* Copies `count` pixels of c channels to where they lie densely. */
static inline void NAME(copy_pixels)(int32_t count, int32_t c, const T *x, int64_t xs, T *to) {
  if (xs == c) {
    memcpy(to, x, (size_t)count * (size_t)c * sizeof(T));
    return;
  }
#define CK_CHANNELS(M)                                        \
  case M:                                                     \
    for (int32_t j = 0; j < count; j++, x += xs, to += M)     \
      for (int k = 0; k < M; k++) to[k] = x[k];               \
    return;
  switch (c) { CK_CONSTANT_CHANNELS(CK_CHANNELS) }
#undef CK_CHANNELS
  for (int32_t j = 0; j < count; j++, x += xs, to += c) memcpy(to, x, (size_t)c * sizeof(T));
}

/* Copies rows r0..<r1 (of one image, with the rows above and below) into a bordered image of r1−r0+2 rows. */
static T *NAME(border)(const ck_conv *v, int64_t r0, int64_t r1, const T *x, int64_t xs, T pad, T *to) {
  int32_t h = v->height, w = v->width, c = v->in_channels;
  int64_t image = r0 / h * h;
  for (int64_t r = r0 - 1; r <= r1; r++) {
    int outside = r < image || r >= image + h;
    int32_t before = outside ? (w + 2) * c : c;
    for (int32_t k = 0; k < before; k++) *to++ = pad;
    if (outside) continue;
    NAME(copy_pixels)(w, c, x + r * w * xs, xs, to);
    to += (int64_t)w * c;
    for (int32_t k = 0; k < c; k++) *to++ = pad;
  }
  return to;
}

static void NAME(gather_fwd)(const ck_conv *v, int64_t row0, int64_t row1, const T *x, int64_t xs, T pad,
                             const NAME(product) *m, uint8_t *mask, T *y, int64_t ys, T *workspace) {
  int32_t h = v->height, w = v->width, c = v->in_channels;
  int64_t block = NAME(block_rows)(v);
  const T **a = (const T **)workspace;
  T *bordered = workspace + ((block * w + 64) * (int64_t)sizeof(T *) / (int64_t)sizeof(T) + 64);
  for (int64_t r = row0; r < row1; r += block) {
    int64_t end = r + block < row1 ? r + block : row1;
    int32_t count = 0;
    T *free_space = bordered;
    for (int64_t part = r; part < end;) {
      int64_t next = (part / h + 1) * h < end ? (part / h + 1) * h : end;
      T *image = free_space;
      free_space = NAME(border)(v, part, next, x, xs, pad, image);
      for (int64_t i = 0; i < next - part; i++)
        for (int32_t j = 0; j < w; j++) a[count++] = image + (i * (w + 2) + j) * c;
      part = next;
    }
    NAME(multiply)(m, count, a, mask ? mask + r * w * m->mask_stride : NULL, y + r * w * ys, ys);
  }
}

static void NAME(direct_fwd)(const ck_conv *v, int64_t row0, int64_t row1, const T *x, int64_t xs,
                             const NAME(product) *m, uint8_t *mask, T *y, int64_t ys, T *workspace) {
  int64_t w = v->width, block = NAME(block_rows)(v);
  const T **a = (const T **)workspace;
  for (int64_t r = row0; r < row1; r += block) {
    int64_t end = r + block < row1 ? r + block : row1;
    int32_t count = (int32_t)((end - r) * w);
    for (int32_t p = 0; p < count; p++) a[p] = x + (r * w + p) * xs;
    NAME(multiply)(m, count, a, mask ? mask + r * w * m->mask_stride : NULL, y + (r - row0) * w * ys, ys);
  }
}

/* Adds the nine shifted partial results of row r on `m` channels from o0; `partial` points at row r of the partial
 * results. Inlined with constant m below, so that the loops over channels become vectors. */
static inline __attribute__((always_inline)) void NAME(scatter_channels)(
    const ck_conv *v, int64_t r, const T *partial, int64_t ps, const T *tap_sums, const T *bias, T pad, int32_t flags,
    uint8_t *mask, T *y, int64_t ys, int32_t o0, const int32_t m) {
  int32_t h = v->height, w = v->width, co = v->out_channels, i = (int32_t)(r % h);
  for (int32_t j = 0; j < w; j++) {
    int64_t p = r * w + j;
    T sum[CK_MAX_STACK];
    for (int32_t o = 0; o < m; o++) sum[o] = bias ? bias[o0 + o] : 0;
    for (int32_t dy = 0; dy < 3; dy++)
      for (int32_t dx = 0; dx < 3; dx++) {
        int32_t i2 = i + dy - 1, j2 = j + dx - 1;
        if (i2 >= 0 && i2 < h && j2 >= 0 && j2 < w) {
          const T *from = partial + ((dy - 1) * w + j2) * ps + (dy * 3 + dx) * co + o0;
          for (int32_t o = 0; o < m; o++) sum[o] += from[o];
        } else {
          const T *from = tap_sums + (dy * 3 + dx) * co + o0;
          for (int32_t o = 0; o < m; o++) sum[o] += pad * from[o];
        }
      }
    T *to = y + p * ys + o0;
    if (flags & CK_ADD)
      for (int32_t o = 0; o < m; o++) sum[o] += to[o];
    uint8_t *bytes = mask ? mask + p * CK_MASK_BYTES(co) + o0 / 8 : NULL;
    if (flags & CK_RELU) {
      for (int32_t o = 0; o < m; o++) sum[o] = sum[o] > 0 ? sum[o] : 0;
      for (int32_t o = 0; mask && o < m; o++)
        bytes[o / 8] = (uint8_t)((o % 8 ? bytes[o / 8] : 0) | (sum[o] > 0) << o % 8);
    }
    if (flags & CK_GATE)
      for (int32_t o = 0; o < m; o++) sum[o] = bytes[o / 8] >> o % 8 & 1 ? sum[o] : 0;
    for (int32_t o = 0; o < m; o++) to[o] = sum[o];
  }
}

static void NAME(scatter_row)(const ck_conv *v, int64_t r, const T *partial, int64_t ps, const T *tap_sums,
                              const T *bias, T pad, int32_t flags, uint8_t *mask, T *y, int64_t ys) {
  int32_t co = v->out_channels;
#define CK_CHANNELS(M)                                                                                         \
  case M: NAME(scatter_channels)(v, r, partial, ps, tap_sums, bias, pad, flags, mask, y, ys, 0, M); return;
  switch (co) { CK_CONSTANT_CHANNELS(CK_CHANNELS) }
#undef CK_CHANNELS
  for (int32_t o0 = 0; o0 < co; o0 += CK_MAX_STACK) {
    int32_t m = co - o0 < CK_MAX_STACK ? co - o0 : CK_MAX_STACK;
    NAME(scatter_channels)(v, r, partial, ps, tap_sums, bias, pad, flags, mask, y, ys, o0, m);
  }
}

static void NAME(scatter_fwd)(const ck_conv *v, int64_t row0, int64_t row1, const T *x, int64_t xs, const T *packed,
                              const T *bias, T pad, int32_t flags, uint8_t *mask, T *y, int64_t ys, T *workspace) {
  int32_t h = v->height, w = v->width;
  int64_t block = NAME(block_rows)(v), ps = NAME(partial_stride)(v);
  T *partial = workspace + ((block * w + 64) * (int64_t)sizeof(T *) / (int64_t)sizeof(T) + 64);
  /* the columns of the last panel that stand for nothing are zero, and are stored too */
  NAME(product) m = {1, v->in_channels, 0, NAME(padded_columns)(9 * v->out_channels), packed, NULL, CK_STORE, 0};
  const T *tap_sums = packed + (int64_t)m.n * v->in_channels;
  /* rows lo..<hi are multiplied; `from`..<`done` of them are in memory */
  int64_t lo = row0 % h ? row0 - 1 : row0, hi = row1 % h ? row1 + 1 : row1;
  int64_t from = lo, done = lo;
  for (int64_t r = row0; r < row1;) {
    int64_t end = done + block < hi ? done + block : hi;
    NAME(direct_fwd)(v, done, end, x, xs, &m, NULL, partial + (done - from) * w * ps, ps, workspace);
    done = end;
    for (; r < row1 && (r + 1 < done || done == hi); r++)
      NAME(scatter_row)(v, r, partial + (r - from) * w * ps, ps, tap_sums, bias, pad, flags, mask, y, ys);
    int64_t keep = r - 1 > from ? r - 1 : from;
    memmove(partial, partial + (keep - from) * w * ps, (size_t)((done - keep) * w * ps) * sizeof(T));
    from = keep;
  }
}

static void NAME(conv_fwd)(const ck_conv *v, int64_t row0, int64_t row1, const T *x, int64_t xs, const T *packed,
                           const T *bias, double outside, int32_t flags, uint8_t *mask, T *y, int64_t ys, T *workspace) {
  const T pad = (T)outside;
  if (NAME(scatters)(v)) {
    NAME(scatter_fwd)(v, row0, row1, x, xs, packed, bias, pad, flags, mask, y, ys, workspace);
    return;
  }
  int32_t ci = v->in_channels, co = v->out_channels;
  if (v->kernel == 1) {
    NAME(product) m = {1, ci, 0, co, packed, bias, flags, CK_MASK_BYTES(co)};
    NAME(direct_fwd)(v, row0, row1, x, xs, &m, mask, y + row0 * v->width * ys, ys, workspace);
  } else {
    NAME(product) m = {3, 3 * ci, (int64_t)(v->width + 2) * ci, co, packed, bias, flags, CK_MASK_BYTES(co)};
    NAME(gather_fwd)(v, row0, row1, x, xs, pad, &m, mask, y, ys, workspace);
  }
}

#include "conv_gradient.h"
