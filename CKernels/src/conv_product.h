/* The matrix product of the convolutions, for one variant and one type: included with T, NAME(x) and CK_VBYTES
 * (bytes of a vector register) defined.
 *
 * One microkernel multiplies MR = 6 pixels by a panel of NR = 2 vectors of output channels, [K][NR]: twelve sums in
 * registers, which hide the latency of multiply-add. Bias, addition, ReLU and masks are applied on the way out. */

#ifndef CK_V
#define CK_V (CK_VBYTES / (int)sizeof(T)) /* elements of a vector */
#define CK_NR (2 * CK_V)
#define CK_MR 6
#endif

typedef T NAME(vec) __attribute__((vector_size(CK_VBYTES), aligned(sizeof(T)), may_alias));

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

static inline int32_t NAME(round_up)(int32_t n, int32_t to) { return (n + to - 1) / to * to; }

/* Panels of NR columns, the last of V where that is enough. */
static inline int32_t NAME(padded_columns)(int32_t n) { return NAME(round_up)(n, CK_V); }

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
