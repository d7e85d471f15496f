/* Convolutions as implicit matrix products, for one variant and one type: included with T, NAME(x) and
 * CK_VBYTES (bytes of a vector register) defined.
 *
 * One microkernel multiplies MR = 6 pixels by NR = 2 vectors of output channels. Weights are packed once into
 * panels [K][NR]. Two ways to turn a 3×3 convolution into such a product, by which side has fewer channels:
 *   gather (in <= out):  the few input channels are copied into an image with a border; a pixel's patch is then
 *                        3 contiguous runs of 3·in values, read in place: K = 9·in, N = out.
 *   scatter (in > out):  every pixel is multiplied by all nine taps at once, K = in, N = 9·out, and the nine
 *                        partial results are added at their shifted places.
 * Each output sums over K in one fixed order, so results don't depend on how pixels are split. */

#define CK_V (CK_VBYTES / (int)sizeof(T)) /* elements of a vector */
#define CK_NR (2 * CK_V)
#define CK_MR 6
#define CK_BLOCK 240 /* pixels of a block of the product; a multiple of CK_MR */

typedef T NAME(vec) __attribute__((vector_size(CK_VBYTES), aligned(sizeof(T)), may_alias));

/* The channel counts for which loops over channels are compiled with a constant bound. */
#define CK_CONSTANT_CHANNELS(X) X(1) X(2) X(4) X(6) X(8) X(12) X(16) X(24)

/* What comparing two vectors gives: all bits of a lane or none. */
typedef __typeof__((NAME(vec)){0} > (NAME(vec)){0}) NAME(lanes);

static inline NAME(vec) NAME(select)(NAME(lanes) where, NAME(vec) value) {
  return (NAME(vec))(where & (NAME(lanes))value);
}

/* One bit a lane, the first lane lowest. */
static inline uint32_t NAME(bits_of)(NAME(lanes) lanes) {
#if CK_VBYTES == 32 && CK_F32
  return (uint32_t)__builtin_ia32_movmskps256((NAME(vec))lanes);
#elif CK_VBYTES == 32
  return (uint32_t)__builtin_ia32_movmskpd256((NAME(vec))lanes);
#else
  uint32_t bits = 0;
  for (int q = 0; q < CK_V; q++) bits |= (uint32_t)(lanes[q] & 1) << q;
  return bits;
#endif
}

/* The lanes whose bits are set; the inverse of `bits_of`. */
static inline NAME(lanes) NAME(lanes_of)(uint32_t bits) {
  NAME(lanes) each;
  for (int q = 0; q < CK_V; q++) each[q] = 1 << q;
  NAME(lanes) all = (NAME(lanes)){0} + (int32_t)bits;
  return (all & each) != 0;
}

/* Bits of `columns` channels from n0 on into or out of a pixel's part of a mask. n0 is a multiple of NR, and the
 * channels before it have been written. */
static inline void NAME(write_mask)(uint8_t *mask, int32_t n0, int32_t columns, uint32_t bits) {
  int32_t shift = n0 % 8;
  mask += n0 / 8;
  if (shift) bits = bits << shift | (mask[0] & ((1u << shift) - 1));
  for (columns += shift; columns > 0; columns -= 8, bits >>= 8) *mask++ = (uint8_t)bits;
}
static inline uint32_t NAME(read_mask)(const uint8_t *mask, int32_t n0, int32_t columns) {
  int32_t shift = n0 % 8;
  mask += n0 / 8;
  uint32_t bits = 0;
  for (int32_t q = 0; q < columns + shift; q += 8) bits |= (uint32_t)*mask++ << q;
  return bits >> shift;
}

static inline int NAME(scatters)(const ck_conv *v) { return v->kernel == 3 && v->in_channels > v->out_channels; }

/* Columns and depth of the matrix product. */
static inline int32_t NAME(columns)(const ck_conv *v) {
  return NAME(scatters)(v) ? 9 * v->out_channels : v->out_channels;
}
static inline int32_t NAME(depth)(const ck_conv *v) {
  return NAME(scatters)(v) || v->kernel == 1 ? v->in_channels : 9 * v->in_channels;
}
static inline int32_t NAME(round_up)(int32_t n, int32_t to) { return (n + to - 1) / to * to; }

/* Panels of NR columns, the last of V where that is enough. */
static inline int32_t NAME(padded_columns)(int32_t n) { return NAME(round_up)(n, CK_V); }

static size_t NAME(conv_packed_count)(const ck_conv *v) {
  size_t count = (size_t)NAME(padded_columns)(NAME(columns)(v)) * (size_t)NAME(depth)(v);
  /* the sum of each tap over the input channels, for a padding value */
  return count + 9 * (size_t)v->out_channels;
}

/* element(dy·k+dx, in, out) = w[...] by strides, so that one routine packs a convolution and its adjoint. */
static void NAME(pack)(const ck_conv *v, const T *w, int64_t tap0, int64_t tap_step, int64_t in_step,
                       int64_t out_step, T *packed) {
  int32_t n = NAME(columns)(v), depth = NAME(depth)(v), ci = v->in_channels, co = v->out_channels;
  int32_t taps = v->kernel * v->kernel;
  for (int32_t n0 = 0; n0 < n; n0 += CK_NR) {
    int32_t width = NAME(padded_columns)(n) - n0 < CK_NR ? CK_V : CK_NR;
    for (int32_t k = 0; k < depth; k++)
      for (int32_t q = 0; q < width; q++) {
        T value = 0;
        if (n0 + q < n) {
          int32_t tap = NAME(scatters)(v) ? (n0 + q) / co : k / ci;
          int32_t o = NAME(scatters)(v) ? (n0 + q) % co : n0 + q;
          value = w[tap0 + tap * tap_step + (k % ci) * in_step + o * out_step];
        }
        *packed++ = value;
      }
  }
  for (int32_t t = 0; t < 9; t++)
    for (int32_t o = 0; o < co; o++) {
      T sum = 0;
      for (int32_t c = 0; t < taps && c < ci; c++) sum += w[tap0 + t * tap_step + c * in_step + o * out_step];
      *packed++ = sum;
    }
}

static void NAME(conv_pack)(const ck_conv *v, const T *w, T *packed) {
  NAME(pack)(v, w, 0, (int64_t)v->in_channels * v->out_channels, v->out_channels, 1, packed);
}

static void NAME(conv_pack_adjoint)(const ck_conv *v, const T *w, T *packed) {
  ck_conv a = *v;
  a.in_channels = v->out_channels;
  a.out_channels = v->in_channels;
  int64_t tap = (int64_t)v->in_channels * v->out_channels;
  NAME(pack)(&a, w, (v->kernel * v->kernel - 1) * tap, -tap, 1, v->out_channels, packed);
}

/* ---- the microkernel ---- */

typedef struct NAME(product) {
  int32_t segments, length; /* the depth is segments · length */
  int64_t segment_stride;   /* between segments of a row of A */
  int32_t n;                /* columns */
  const T *panels;
  const T *bias;            /* [n] or NULL */
  int32_t flags;
  int64_t mask_stride;      /* bytes of a pixel's mask */
} NAME(product);

#define CK_MICRO(ROWS, VECS)                                                                                   \
  static inline __attribute__((always_inline)) void NAME(micro_##ROWS##_##VECS)(                               \
      const NAME(product) * m, const T *const *a, const T *panel, NAME(vec) acc[ROWS][VECS]) {                 \
    for (int32_t s = 0; s < m->segments; s++) {                                                                \
      const T *row[ROWS];                                                                                      \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < ROWS; i++) row[i] = a[i] + s * m->segment_stride; \
      for (int32_t k = 0; k < m->length; k++) {                                                                \
        NAME(vec) b[VECS];                                                                                     \
        _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++)                                      \
            b[j] = *(const NAME(vec) *)(panel + j * CK_V);                                                     \
        panel += VECS * CK_V;                                                                                  \
        _Pragma("clang loop unroll(full)") for (int i = 0; i < ROWS; i++) {                                    \
          T value = row[i][k];                                                                                 \
          _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++) acc[i][j] += value * b[j];         \
        }                                                                                                      \
      }                                                                                                        \
    }                                                                                                          \
  }

/* The epilogue: one pixel's values of one panel, the i-th of a tile, to their place. */
static inline __attribute__((always_inline)) void NAME(store)(const NAME(product) *m, int i, int32_t n0, int32_t columns,
                                                              const int vecs, const NAME(vec) *values, uint8_t *mask,
                                                              T *to) {
  if (mask) mask += i * m->mask_stride;
  uint32_t open = mask && m->flags & CK_GATE ? NAME(read_mask)(mask, n0, columns) : 0, bits = 0;
  for (int j = 0; j < vecs; j++) {
    NAME(vec) value = values[j], *place = (NAME(vec) *)(to + j * CK_V);
    if (m->flags & CK_ADD) value += *place;
    if (m->flags & CK_RELU) {
      NAME(lanes) positive = value > 0;
      value = NAME(select)(positive, value);
      if (mask) bits |= NAME(bits_of)(positive) << j * CK_V;
    }
    if (m->flags & CK_GATE) value = NAME(select)(NAME(lanes_of)(open >> j * CK_V), value);
    *place = value;
  }
  if (mask && m->flags & CK_RELU) NAME(write_mask)(mask, n0, columns, bits);
}

/* ROWS pixels × one panel: the product, then the epilogue on `columns` <= VECS·V columns. */
#define CK_TILE(ROWS, VECS)                                                                                    \
  CK_MICRO(ROWS, VECS)                                                                                         \
  static void NAME(tile_##ROWS##_##VECS)(const NAME(product) * m, const T *const *a, const T *panel,           \
                                         int32_t n0, uint8_t *mask, T *y, int64_t ys) {                        \
    NAME(vec) acc[ROWS][VECS];                                                                                 \
    int32_t columns = m->n - n0 < VECS * CK_V ? m->n - n0 : VECS * CK_V;                                       \
    T start[VECS * CK_V];                                                                                      \
    for (int q = 0; q < VECS * CK_V; q++) start[q] = m->bias && q < columns ? m->bias[n0 + q] : 0;             \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < ROWS; i++)                                          \
        _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++)                                      \
            acc[i][j] = *(const NAME(vec) *)(start + j * CK_V);                                                \
    NAME(micro_##ROWS##_##VECS)(m, a, panel, acc);                                                             \
    if (columns == VECS * CK_V) {                                                                              \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < ROWS; i++)                                        \
          NAME(store)(m, i, n0, columns, VECS, acc[i], mask, y + i * ys + n0);                                 \
    } else { /* through a buffer: indexing acc by a variable would keep it in memory all along */              \
      T values[VECS * CK_V];                                                                                   \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < ROWS; i++) {                                      \
        T *to = y + i * ys + n0;                                                                               \
        for (int q = 0; q < VECS * CK_V; q++) values[q] = m->flags & CK_ADD && q < columns ? to[q] : 0;        \
        NAME(store)(m, i, n0, columns, VECS, acc[i], mask, values);                                            \
        for (int q = 0; q < columns; q++) to[q] = values[q];                                                   \
      }                                                                                                        \
    }                                                                                                          \
  }

#define CK_TILES(VECS) CK_TILE(1, VECS) CK_TILE(2, VECS) CK_TILE(3, VECS) CK_TILE(4, VECS) CK_TILE(5, VECS) \
  CK_TILE(6, VECS)
CK_TILES(1)
CK_TILES(2)

typedef void NAME(tile)(const NAME(product) *, const T *const *, const T *, int32_t, uint8_t *, T *, int64_t);
static NAME(tile) *const NAME(tiles)[2][CK_MR] = {
    {NAME(tile_1_1), NAME(tile_2_1), NAME(tile_3_1), NAME(tile_4_1), NAME(tile_5_1), NAME(tile_6_1)},
    {NAME(tile_1_2), NAME(tile_2_2), NAME(tile_3_2), NAME(tile_4_2), NAME(tile_5_2), NAME(tile_6_2)},
};

/* `count` pixels, whose rows of A begin at a[0..<count], into y[0..<count]. */
static void NAME(multiply)(const NAME(product) *m, int32_t count, const T *const *a, uint8_t *mask, T *y,
                           int64_t ys) {
  int32_t depth = m->segments * m->length, padded = NAME(padded_columns)(m->n);
  const T *panel = m->panels;
  for (int32_t n0 = 0; n0 < m->n; n0 += CK_NR) {
    int vecs = padded - n0 < CK_NR ? 1 : 2;
    for (int32_t p = 0; p < count; p += CK_MR) {
      int32_t rows = count - p < CK_MR ? count - p : CK_MR;
      NAME(tiles)[vecs - 1][rows - 1](m, a + p, panel, n0, mask ? mask + p * m->mask_stride : NULL, y + p * ys, ys);
    }
    panel += (int64_t)depth * vecs * CK_V;
  }
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

/* Copies rows r0..<r1 (of one image, with the rows above and below) into a bordered image of r1−r0+2 rows. */
static T *NAME(border)(const ck_conv *v, int64_t r0, int64_t r1, const T *x, int64_t xs, T pad, T *to) {
  int32_t h = v->height, w = v->width, c = v->in_channels;
  int64_t image = r0 / h * h;
  for (int64_t r = r0 - 1; r <= r1; r++) {
    int outside = r < image || r >= image + h;
    for (int32_t j = -1; j <= w; j++, to += c) {
      if (outside || j < 0 || j >= w)
        for (int32_t k = 0; k < c; k++) to[k] = pad;
      else
        for (int32_t k = 0; k < c; k++) to[k] = x[(r * w + j) * xs + k];
    }
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
                           const T *bias, T pad, int32_t flags, uint8_t *mask, T *y, int64_t ys, T *workspace) {
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

/* ---- gradient of the weights ----
 * dW[K,N] += Aᵀ[K,pixels] · G[pixels,N]. The side with few channels is expanded to its nine shifted copies; both
 * sides are copied into blocks of pixels whose row length isn't a power of two, which would make rows collide
 * in the cache. */

#define CK_GRAD_BLOCK 128

#define CK_GRAD_TILE(VECS)                                                                                     \
  static void NAME(grad_tile_##VECS)(int32_t count, const T *a, int64_t as, const T *g, int64_t gs,            \
                                     int32_t rows, T *c, int64_t cs) {                                         \
    NAME(vec) acc[CK_MR][VECS];                                                                                \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < CK_MR; i++)                                         \
        _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++) acc[i][j] = (NAME(vec)){0};          \
    for (int32_t p = 0; p < count; p++, a += as, g += gs) {                                                    \
      NAME(vec) b[VECS];                                                                                       \
      _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++)                                        \
          b[j] = *(const NAME(vec) *)(g + j * CK_V);                                                           \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < CK_MR; i++) {                                     \
        T value = a[i];                                                                                        \
        _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++) acc[i][j] += value * b[j];           \
      }                                                                                                        \
    }                                                                                                          \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < CK_MR; i++) {                                       \
      if (i >= rows) break;                                                                                    \
      _Pragma("clang loop unroll(full)") for (int j = 0; j < VECS; j++)                                        \
          *(NAME(vec) *)(c + i * cs + j * CK_V) += acc[i][j];                                                  \
    }                                                                                                          \
  }
CK_GRAD_TILE(1)
CK_GRAD_TILE(2)

/* A row length of at least n + MR elements that is an odd number of vectors. */
static inline int64_t NAME(row_length)(int32_t n) {
  int32_t vectors = NAME(round_up)(n + CK_MR, CK_V) / CK_V;
  return (int64_t)(vectors | 1) * CK_V;
}

static size_t NAME(conv_wgrad_workspace)(const ck_conv *v) {
  int32_t k = NAME(depth)(v), n = NAME(columns)(v);
  size_t blocks = CK_GRAD_BLOCK * (size_t)(NAME(row_length)(k) + NAME(row_length)(n));
  size_t result = (size_t)k * (size_t)NAME(padded_columns)(n);
  return blocks + result + 64;
}

/* Copies channel runs of pixels p0..<p0+count; inlined with constant c below. shifted = 0: the pixel's own c channels. shifted = +1: its nine
 * neighbours in the order of the taps; −1: in the opposite order. Outside the image: `pad`. */
static inline __attribute__((always_inline)) void NAME(expand_channels)(const ck_conv *v, int64_t p0, int32_t count,
                                                                        const T *x, int64_t xs, const int32_t c,
                                                                        int32_t shifted, T pad, T *to, int64_t ts) {
  int32_t h = v->height, w = v->width;
  for (int32_t q = 0; q < count; q++, to += ts) {
    int64_t p = p0 + q;
    int32_t filled = shifted ? 9 * c : c;
    if (!shifted) {
      for (int32_t k = 0; k < c; k++) to[k] = x[p * xs + k];
    } else {
      int32_t j = (int32_t)(p % w), i = (int32_t)(p / w % h);
      for (int32_t t = 0; t < 9; t++) {
        int32_t dy = (t / 3 - 1) * shifted, dx = (t % 3 - 1) * shifted;
        T *run = to + t * c;
        if (i + dy >= 0 && i + dy < h && j + dx >= 0 && j + dx < w) {
          const T *from = x + (p + (int64_t)dy * w + dx) * xs;
          for (int32_t k = 0; k < c; k++) run[k] = from[k];
        } else {
          for (int32_t k = 0; k < c; k++) run[k] = pad;
        }
      }
    }
    for (int64_t k = filled; k < ts; k++) to[k] = 0;
  }
}

static void NAME(expand)(const ck_conv *v, int64_t p0, int32_t count, const T *x, int64_t xs, int32_t c,
                         int32_t shifted, T pad, T *to, int64_t ts) {
#define CK_CHANNELS(M) \
  case M: NAME(expand_channels)(v, p0, count, x, xs, M, shifted, pad, to, ts); return;
  switch (c) { CK_CONSTANT_CHANNELS(CK_CHANNELS) }
#undef CK_CHANNELS
  NAME(expand_channels)(v, p0, count, x, xs, c, shifted, pad, to, ts);
}

/* The parts cut the side with many channels: panels of columns, or for a scatter tiles of rows. */
static int32_t NAME(conv_wgrad_parts)(const ck_conv *v) {
  return NAME(scatters)(v) ? NAME(round_up)(v->in_channels, CK_MR) / CK_MR
                           : NAME(round_up)(v->out_channels, CK_NR) / CK_NR;
}

static void NAME(conv_wgrad)(const ck_conv *v, int32_t part0, int32_t part1, int64_t row0, int64_t row1, const T *x,
                             int64_t xs, T pad, const T *g, int64_t gs, T *dw, T *dbias, T *workspace) {
  int scatters = NAME(scatters)(v);
  int32_t ci = v->in_channels, co = v->out_channels, h = v->height, w = v->width;
  int32_t c0 = 0, c1 = ci, o0 = 0, o1 = co; /* the channels of these parts */
  if (scatters) {
    c0 = part0 * CK_MR;
    c1 = part1 * CK_MR < ci ? part1 * CK_MR : ci;
  } else {
    o0 = part0 * CK_NR;
    o1 = part1 * CK_NR < co ? part1 * CK_NR : co;
  }
  if (c0 >= c1 || o0 >= o1) return;
  int32_t k = scatters || v->kernel == 1 ? c1 - c0 : 9 * ci, n = scatters ? 9 * co : o1 - o0;
  int32_t padded = NAME(padded_columns)(n);
  int64_t as = NAME(row_length)(k), bs = NAME(row_length)(n);
  T *result = workspace, *a = result + (int64_t)k * padded, *b = a + CK_GRAD_BLOCK * as;
  for (int64_t i = 0; i < (int64_t)k * padded; i++) result[i] = 0;
  for (int64_t p0 = row0 * w; p0 < row1 * w; p0 += CK_GRAD_BLOCK) {
    int32_t count = row1 * w - p0 < CK_GRAD_BLOCK ? (int32_t)(row1 * w - p0) : CK_GRAD_BLOCK;
    NAME(expand)(v, p0, count, x + c0, xs, c1 - c0, v->kernel == 3 && !scatters ? 1 : 0, pad, a, as);
    NAME(expand)(v, p0, count, g + o0, gs, o1 - o0, scatters ? -1 : 0, 0, b, bs);
    for (int32_t n0 = 0; n0 < n; n0 += CK_NR) {
      int one = padded - n0 < CK_NR;
      for (int32_t k0 = 0; k0 < k; k0 += CK_MR)
        (one ? NAME(grad_tile_1) : NAME(grad_tile_2))(count, a + k0, as, b + n0, bs, k - k0,
                                                      result + (int64_t)k0 * padded + n0, padded);
    }
    if (dbias && c0 == 0) {
      for (int32_t q = 0; q < count; q++)
        for (int32_t o = o0; o < o1; o++) dbias[o] += g[(p0 + q) * gs + o];
    }
  }
  if (!scatters) {
    for (int32_t i = 0; i < k; i++)
      for (int32_t o = 0; o < n; o++) dw[(int64_t)i * co + o0 + o] += result[(int64_t)i * padded + o];
    return;
  }
  for (int32_t t = 0; t < 9; t++)
    for (int32_t c = c0; c < c1; c++)
      for (int32_t o = 0; o < co; o++)
        dw[((int64_t)t * ci + c) * co + o] += result[(int64_t)(c - c0) * padded + t * co + o];
  if (pad == 0) return;
  for (int64_t p = row0 * w; p < row1 * w; p++) {
    int32_t j = (int32_t)(p % w), i = (int32_t)(p / w % h);
    for (int32_t t = 0; t < 9; t++) {
      int32_t i2 = i + t / 3 - 1, j2 = j + t % 3 - 1;
      if (i2 >= 0 && i2 < h && j2 >= 0 && j2 < w) continue;
      for (int32_t c = c0; c < c1; c++)
        for (int32_t o = 0; o < co; o++) dw[((int64_t)t * ci + c) * co + o] += pad * g[p * gs + o];
    }
  }
}

#undef CK_V
#undef CK_NR
#undef CK_MR
#undef CK_BLOCK
#undef CK_GRAD_BLOCK
#undef CK_GRAD_TILE
#undef CK_CONSTANT_CHANNELS
#undef CK_MICRO
#undef CK_TILE
#undef CK_TILES
