/* The matrix product of the convolutions, for one variant and one type: included with T, NAME(x) and CK_VBYTES
 * (bytes of a vector register) defined.
 *
 * One microkernel multiplies MR pixels (6, or 8 where the variant says so) by a panel of NR = 2 vectors of output
 * channels, [K][NR], or 3 pixels by 3 vectors: as many sums in registers as hide the latency of multiply-add. Bias,
 * addition, ReLU and masks are applied on the way out. */

#ifndef CK_V
#define CK_V (CK_VBYTES / (int)sizeof(T)) /* elements of a vector */
#define CK_NR (2 * CK_V)
#ifndef CK_MR
#define CK_MR 6
#endif
/* Calls X for 1 to MR rows; a tile of fewer is compiled for the pixels that are left over. */
#if CK_MR == 8
#define CK_FOR_ROWS(X, VECS) \
  X(1, VECS) X(2, VECS) X(3, VECS) X(4, VECS) X(5, VECS) X(6, VECS) X(7, VECS) X(8, VECS)
#else
#define CK_FOR_ROWS(X, VECS) X(1, VECS) X(2, VECS) X(3, VECS) X(4, VECS) X(5, VECS) X(6, VECS)
#endif
#endif

typedef T NAME(vec) __attribute__((vector_size(CK_VBYTES), aligned(sizeof(T)), may_alias));

/* Four elements, whatever the vectors' length: the unit of transposing. */
typedef T NAME(quad) __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));

static inline void NAME(transpose)(NAME(quad) a[4]) {
  NAME(quad) b[4];
  for (int i = 0; i < 4; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 4, 1, 5);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 6, 3, 7);
  }
  for (int i = 0; i < 2; i++) {
    a[2 * i] = __builtin_shufflevector(b[i], b[i + 2], 0, 1, 4, 5);
    a[2 * i + 1] = __builtin_shufflevector(b[i], b[i + 2], 2, 3, 6, 7);
  }
}

/* What comparing two vectors gives: all bits of a lane or none. */
typedef CK_LANE NAME(lanes) __attribute__((vector_size(CK_VBYTES)));

static inline NAME(vec) NAME(select)(NAME(lanes) where, NAME(vec) value) {
  return (NAME(vec))(where & (NAME(lanes))value);
}

/* One bit a lane, the first lane lowest. */
static inline uint64_t NAME(bits_of)(NAME(lanes) lanes) {
#if CK_VBYTES == 64 && CK_F32
  return (uint64_t)__builtin_ia32_cvtd2mask512(lanes);
#elif CK_VBYTES == 64
  return (uint64_t)__builtin_ia32_cvtq2mask512(lanes);
#elif CK_VBYTES == 32 && CK_F32
  return (uint64_t)__builtin_ia32_movmskps256((NAME(vec))lanes);
#elif CK_VBYTES == 32
  return (uint64_t)__builtin_ia32_movmskpd256((NAME(vec))lanes);
#else
  uint64_t bits = 0;
  for (int q = 0; q < CK_V; q++) bits |= (uint64_t)(lanes[q] & 1) << q;
  return bits;
#endif
}

/* The lanes whose bits are set; the inverse of `bits_of`. */
static inline NAME(lanes) NAME(lanes_of)(uint64_t bits) {
  NAME(lanes) each;
  for (int q = 0; q < CK_V; q++) each[q] = (CK_LANE)1 << q;
  NAME(lanes) all = (NAME(lanes)){0} + (CK_LANE)bits;
  return (all & each) != 0;
}

/* Bits of `columns` channels from n0 on into or out of a pixel's part of a mask. n0 is a multiple of NR, and the
 * channels before it have been written. */
static inline void NAME(write_mask)(uint8_t *mask, int32_t n0, int32_t columns, uint64_t bits) {
  int32_t shift = n0 % 8;
  mask += n0 / 8;
  if (shift) bits = bits << shift | (mask[0] & ((1ull << shift) - 1));
  for (columns += shift; columns > 0; columns -= 8, bits >>= 8) *mask++ = (uint8_t)bits;
}
static inline uint64_t NAME(read_mask)(const uint8_t *mask, int32_t n0, int32_t columns) {
  int32_t shift = n0 % 8;
  mask += n0 / 8;
  uint64_t bits = 0;
  for (int32_t q = 0; q < columns + shift; q += 8) bits |= (uint64_t)*mask++ << q;
  return bits >> shift;
}

static inline int32_t NAME(round_up)(int32_t n, int32_t to) { return (n + to - 1) / to * to; }

static inline int32_t NAME(padded_columns)(int32_t n) { return NAME(round_up)(n, CK_V); }

/* Vectors of the panel that begins at column n0 of n: 2, but the last panel has 3 or 1 where their number is odd. */
static inline int32_t NAME(panel_vectors)(int32_t n, int32_t n0) {
  int32_t left = (NAME(padded_columns)(n) - n0) / CK_V;
  return left == 1 || left == 3 ? left : 2;
}

typedef struct NAME(product) {
  int32_t segments, length; /* the depth is segments · length */
  int64_t segment_stride;   /* between segments of a row of A */
  int32_t n;                /* columns */
  const T *panels;
  const T *bias;            /* [n] or NULL */
  int32_t flags;
  int64_t mask_stride;      /* bytes of a pixel's mask */
} NAME(product);

#define CK_UNROLL _Pragma("clang loop unroll(full)") for

/* Adds the product of `rows` pixels and one panel to acc; fetches what lies `ahead` elements behind the panel. */
static inline __attribute__((always_inline)) void NAME(micro)(const NAME(product) *m, const int rows, const int vecs,
                                                              const T *const *a, const T *panel, int64_t ahead,
                                                              NAME(vec) acc[CK_MR][3]) {
  for (int32_t s = 0; s < m->segments; s++) {
    const T *row[CK_MR];
    CK_UNROLL (int i = 0; i < rows; i++) row[i] = a[i] + s * m->segment_stride;
    for (int32_t k = 0; k < m->length; k++, panel += vecs * CK_V) {
      NAME(vec) b[3];
      CK_UNROLL (int j = 0; j < vecs; j++) b[j] = *(const NAME(vec) *)(panel + j * CK_V);
      __builtin_prefetch(panel + ahead, 0, 2);
      CK_UNROLL (int i = 0; i < rows; i++) {
        T value = row[i][k];
        CK_UNROLL (int j = 0; j < vecs; j++) acc[i][j] += value * b[j];
      }
    }
  }
}

/* The epilogue: one pixel's values of one panel to their place. */
static inline __attribute__((always_inline)) void NAME(store)(const int32_t flags, int32_t n0, int32_t columns,
                                                              const int vecs, const NAME(vec) *values, uint8_t *mask,
                                                              T *to) {
  uint64_t open = flags & CK_GATE ? NAME(read_mask)(mask, n0, columns) : 0, bits = 0;
  CK_UNROLL (int j = 0; j < vecs; j++) {
    NAME(vec) value = values[j], *place = (NAME(vec) *)(to + j * CK_V);
    if (flags & CK_ADD) value += *place;
    if (flags & CK_RELU) {
      NAME(lanes) positive = value > 0;
      value = NAME(select)(positive, value);
      if (mask) bits |= NAME(bits_of)(positive) << j * CK_V;
    }
    if (flags & CK_GATE) value = NAME(select)(NAME(lanes_of)(open >> j * CK_V), value);
    *place = value;
  }
  if (flags & CK_RELU && mask) NAME(write_mask)(mask, n0, columns, bits);
}

static inline __attribute__((always_inline)) void NAME(store_tile)(const NAME(product) *m, const int32_t flags, int32_t n0,
                                                                   const int rows, const int vecs,
                                                                   const NAME(vec) acc[CK_MR][3], uint8_t *mask, T *y,
                                                                   int64_t ys) {
  CK_UNROLL (int i = 0; i < rows; i++)
    NAME(store)(flags, n0, vecs * CK_V, vecs, acc[i], mask ? mask + i * m->mask_stride : NULL, y + i * ys + n0);
}

/* `rows` pixels × one panel: the product from `start` on, then the epilogue on `columns` <= vecs·V columns. */
static inline __attribute__((always_inline)) void NAME(tile)(const NAME(product) *m, const int rows, const int vecs,
                                                             const T *const *a, const T *panel, int64_t ahead,
                                                             const T *start, int32_t n0, int32_t columns, uint8_t *mask,
                                                             T *y, int64_t ys) {
  NAME(vec) acc[CK_MR][3];
  CK_UNROLL (int i = 0; i < rows; i++)
    CK_UNROLL (int j = 0; j < vecs; j++) acc[i][j] = *(const NAME(vec) *)(start + j * CK_V);
  NAME(micro)(m, rows, vecs, a, panel, ahead, acc);
  if (columns < vecs * CK_V) { /* through a buffer: indexing acc by a variable would keep it in memory all along */
    CK_UNROLL (int i = 0; i < rows; i++) {
      T *to = y + i * ys + n0, values[3 * CK_V];
      for (int q = 0; q < vecs * CK_V; q++) values[q] = m->flags & CK_ADD && q < columns ? to[q] : 0;
      NAME(store)(m->flags, n0, columns, vecs, acc[i], mask ? mask + i * m->mask_stride : NULL, values);
      for (int q = 0; q < columns; q++) to[q] = values[q];
    }
    return;
  }
  switch (m->flags) { /* the usual ones with constant flags */
    case CK_STORE: NAME(store_tile)(m, CK_STORE, n0, rows, vecs, acc, mask, y, ys); break;
    case CK_RELU: NAME(store_tile)(m, CK_RELU, n0, rows, vecs, acc, mask, y, ys); break;
    case CK_GATE: NAME(store_tile)(m, CK_GATE, n0, rows, vecs, acc, mask, y, ys); break;
    default: NAME(store_tile)(m, m->flags, n0, rows, vecs, acc, mask, y, ys);
  }
}

/* `count` pixels × the panel of VECS vectors at column n0, ROWS pixels at a time; while the last tile is computed, the
 * next panel is fetched. */
#define CK_PANEL(ROWS, VECS)                                                                                   \
  static void NAME(panel_##VECS)(const NAME(product) * m, int32_t count, const T *const *a, const T *panel,    \
                                 int32_t n0, uint8_t *mask, T *y, int64_t ys) {                                \
    int32_t columns = m->n - n0 < VECS * CK_V ? m->n - n0 : VECS * CK_V;                                       \
    int64_t next = n0 + columns < m->n ? (int64_t)m->segments * m->length * VECS * CK_V : 0;                   \
    T start[VECS * CK_V];                                                                                      \
    for (int q = 0; q < VECS * CK_V; q++) start[q] = m->bias && q < columns ? m->bias[n0 + q] : 0;             \
    for (; count >= ROWS; count -= ROWS, a += ROWS, y += ROWS * ys) {                                          \
      NAME(tile)(m, ROWS, VECS, a, panel, count < 2 * ROWS ? next : 0, start, n0, columns, mask, y, ys);       \
      if (mask) mask += ROWS * m->mask_stride;                                                                 \
    }                                                                                                          \
    switch (count) {                                                                                           \
      CK_FOR_ROWS(CK_REST_##VECS, ROWS)                                                                        \
    }                                                                                                          \
  }
#define CK_REST(N, ROWS, VECS)                                                                                 \
  case N:                                                                                                      \
    if (N < ROWS)                                                                                              \
      NAME(tile)(m, N < ROWS ? N : 1, VECS, a, panel, next, start, n0, columns, mask, y, ys);                  \
    break;
#define CK_REST_1(N, ROWS) CK_REST(N, ROWS, 1)
#define CK_REST_2(N, ROWS) CK_REST(N, ROWS, 2)
#define CK_REST_3(N, ROWS) CK_REST(N, ROWS, 3)
CK_PANEL(CK_MR, 1)
CK_PANEL(CK_MR, 2)
CK_PANEL(3, 3)

/* `count` pixels, whose rows of A begin at a[0..<count], into y[0..<count]. */
static void NAME(multiply)(const NAME(product) *m, int32_t count, const T *const *a, uint8_t *mask, T *y,
                           int64_t ys) {
  const T *panel = m->panels;
  for (int32_t n0 = 0, vecs; n0 < m->n; n0 += vecs * CK_V) {
    vecs = NAME(panel_vectors)(m->n, n0);
    (vecs == 1 ? NAME(panel_1) : vecs == 2 ? NAME(panel_2) : NAME(panel_3))(m, count, a, panel, n0, mask, y, ys);
    panel += (int64_t)m->segments * m->length * vecs * CK_V;
  }
}
