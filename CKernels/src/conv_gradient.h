/* The gradient of a convolution's weights, for one variant and one type: included by conv_packed.h.
 *
 * dW = sum over pixels of a ⊗ b, where a[K] are the nine taps of the side with few channels, read in place from an
 * image with a border, and b the side with many channels ("wide"), packed into panels of NR for a block of pixels.
 * A tile of MR × NR sums stays in registers over the block. For a gather a is x, b is g and K runs over (tap, in);
 * for a scatter a is g, b is x and K runs over (flipped tap, out), and the sums are transposed at the end. For 1×1,
 * a is x itself.
 *
 * The wide side is cut into parts of PART channels. Each sum adds the blocks of pixels in their order. */

#ifndef CK_PART
#define CK_PART 64         /* wide channels of a part; a multiple of NR */
#define CK_GRAD_PIXELS 128 /* pixels of a block, or one row of the image if that is longer */
#endif

/* The pixels of a block: runs of `width` pixels, the r-th beginning at a[r], a_step elements apart; and whether their
 * sums are added to what is there, or stored. */
typedef struct NAME(runs) {
  int32_t count, width;
  const T *const *a;
  int64_t a_step;
  int adds;
} NAME(runs);

/* c[i·cs + 0..<columns] += sum over the block's pixels of a[offset + i] · panel, i < ROWS. The next tile's sums, ROWS
 * rows further, are fetched meanwhile. */
#define CK_OUTER(ROWS, VECS)                                                                                   \
  static void NAME(outer_##ROWS##_##VECS)(const NAME(runs) * m, int64_t offset, const T *panel, T *c,          \
                                          int64_t cs, int32_t columns) {                                       \
    NAME(vec) acc[ROWS][VECS];                                                                                 \
    CK_UNROLL (int i = 0; i < ROWS; i++) {                                                                     \
      CK_UNROLL (int j = 0; j < VECS; j++) acc[i][j] = (NAME(vec)){0};                                         \
      __builtin_prefetch(c + (ROWS + i) * cs, 1);                                                              \
    }                                                                                                          \
    for (int32_t r = 0; r < m->count; r++) {                                                                   \
      const T *a = m->a[r] + offset;                                                                           \
      for (int32_t p = 0; p < m->width; p++, a += m->a_step, panel += VECS * CK_V) {                           \
        NAME(vec) b[VECS];                                                                                     \
        CK_UNROLL (int j = 0; j < VECS; j++)                                                                   \
            b[j] = *(const NAME(vec) *)(panel + j * CK_V);                                                     \
        CK_UNROLL (int i = 0; i < ROWS; i++) {                                                                 \
          T value = a[i];                                                                                      \
          CK_UNROLL (int j = 0; j < VECS; j++) acc[i][j] += value * b[j];                                      \
        }                                                                                                      \
      }                                                                                                        \
    }                                                                                                          \
    CK_UNROLL (int i = 0; i < ROWS; i++) {                                                                     \
      T *to = c + i * cs;                                                                                      \
      if (columns == VECS * CK_V) {                                                                            \
        CK_UNROLL (int j = 0; j < VECS; j++) {                                                                 \
          NAME(vec) *place = (NAME(vec) *)(to + j * CK_V);                                                     \
          NAME(vec) sum = acc[i][j];                                                                           \
          if (m->adds) sum += *place;                                                                          \
          *place = sum;                                                                                        \
        }                                                                                                      \
      } else {                                                                                                 \
        T values[VECS * CK_V];                                                                                 \
        CK_UNROLL (int j = 0; j < VECS; j++)                                                                   \
            *(NAME(vec) *)(values + j * CK_V) = acc[i][j];                                                     \
        for (int q = 0; q < columns; q++) to[q] = m->adds ? to[q] + values[q] : values[q];                     \
      }                                                                                                        \
    }                                                                                                          \
  }

CK_FOR_ROWS(CK_OUTER, 1)
CK_FOR_ROWS(CK_OUTER, 2)

typedef void NAME(outer)(const NAME(runs) *, int64_t, const T *, T *, int64_t, int32_t);
#define CK_ENTRY_OUTER(ROWS, VECS) NAME(outer_##ROWS##_##VECS),
static NAME(outer) *const NAME(outers)[2][CK_MR] = {{CK_FOR_ROWS(CK_ENTRY_OUTER, 1)}, {CK_FOR_ROWS(CK_ENTRY_OUTER, 2)}};
#undef CK_ENTRY_OUTER

/* Packs `count` pixels of n channels into panels, and adds their sums to `sums` unless that is NULL. */
static void NAME(pack_panels)(int32_t count, int32_t n, const T *b, int64_t bs, T *panels, T *sums) {
  for (int32_t n0 = 0; n0 < n; n0 += CK_NR) {
    int32_t width = NAME(padded_columns)(n) - n0 < CK_NR ? CK_V : CK_NR, columns = n - n0 < width ? n - n0 : width;
    NAME(vec) total[2] = {{0}, {0}};
    const T *from = b + n0;
    if (columns == CK_NR) {
      for (int32_t p = 0; p < count; p++, from += bs, panels += CK_NR) {
        NAME(vec) first = *(const NAME(vec) *)from, second = *(const NAME(vec) *)(from + CK_V);
        *(NAME(vec) *)panels = first;
        *(NAME(vec) *)(panels + CK_V) = second;
        total[0] += first;
        total[1] += second;
      }
    } else {
      for (int32_t p = 0; p < count; p++, from += bs)
        for (int32_t q = 0; q < width; q++, panels++) {
          *panels = q < columns ? from[q] : 0;
          ((T *)total)[q] += *panels;
        }
    }
    for (int32_t q = 0; sums && q < columns; q++) sums[n0 + q] += ((const T *)total)[q];
  }
}

/* The sides of a gradient. */
typedef struct NAME(sides) {
  ck_conv few;         /* height, width, and as in_channels the channels of the few side */
  int32_t wide;        /* channels of the wide side */
  int32_t run, taps;   /* K is `taps` runs of `run`: 3 of 3·few, or for 1×1 one */
  int64_t block_rows;  /* rows of a block */
} NAME(sides);

static NAME(sides) NAME(sides_of)(const ck_conv *v) {
  int scatters = NAME(scatters)(v);
  NAME(sides) s = {*v, scatters ? v->in_channels : v->out_channels, v->in_channels, 1, 1};
  if (v->kernel == 3) {
    s.few.in_channels = scatters ? v->out_channels : v->in_channels;
    s.run = 3 * s.few.in_channels;
    s.taps = 3;
  }
  if (v->width < CK_GRAD_PIXELS) s.block_rows = CK_GRAD_PIXELS / v->width;
  return s;
}

static int32_t NAME(conv_wgrad_parts)(const ck_conv *v) {
  return NAME(round_up)(NAME(sides_of)(v).wide, CK_PART) / CK_PART;
}

static int32_t NAME(conv_wgrad_block)(const ck_conv *v) { return (int32_t)NAME(sides_of)(v).block_rows; }

/* A scatter's sums of one part, and those of g over the pixels that see the outside, by tap. */
static size_t NAME(part_sums)(const ck_conv *v) {
  return NAME(scatters)(v) ? 9 * (size_t)v->out_channels * (CK_PART + 1) : 0;
}
static size_t NAME(conv_wgrad_carry)(const ck_conv *v) {
  return (size_t)NAME(conv_wgrad_parts)(v) * NAME(part_sums)(v);
}

/* The workspace: pointers to the block's rows; the few side with borders, every row perhaps the only one of its
 * image; panels; for a scatter a part's sums. */
static size_t NAME(grad_pointers)(const NAME(sides) *s) {
  return (size_t)s->block_rows * sizeof(T *) / sizeof(T) + 64;
}
static size_t NAME(grad_bordered)(const NAME(sides) *s) {
  return s->few.kernel == 1 ? 0 : 3 * (size_t)s->block_rows * (size_t)(s->few.width + 2) * (size_t)s->few.in_channels;
}
static size_t NAME(conv_wgrad_workspace)(const ck_conv *v) {
  NAME(sides) s = NAME(sides_of)(v);
  size_t panels = (size_t)s.block_rows * (size_t)v->width * CK_PART;
  return NAME(grad_pointers)(&s) + NAME(grad_bordered)(&s) + panels + NAME(part_sums)(v);
}

/* The products of one part, of n channels: dw[k·cs + 0..<n] += …, or = … unless `adds`. */
static void NAME(outer_products)(const NAME(sides) *s, int64_t row0, int64_t row1, const T *few, int64_t fs, T pad,
                                 const T *wide, int64_t ws, int32_t n, int adds, T *dw, int64_t cs, T *sums,
                                 T *workspace) {
  int32_t h = s->few.height, w = s->few.width;
  const T **rows = (const T **)workspace;
  T *bordered = workspace + NAME(grad_pointers)(s), *panels = bordered + NAME(grad_bordered)(s);
  for (int64_t r = row0; r < row1; r += s->block_rows) {
    int64_t end = r + s->block_rows < row1 ? r + s->block_rows : row1;
    int32_t count = (int32_t)(end - r);
    NAME(runs) m = {count, w, rows, s->few.in_channels, adds || r > row0};
    int64_t between = (int64_t)(w + 2) * s->few.in_channels; /* rows of the bordered image */
    if (s->taps == 1) {
      m = (NAME(runs)){1, count * w, rows, fs, m.adds};
      rows[0] = few + r * w * fs;
    } else {
      T *image = bordered;
      for (int64_t part = r; part < end;) {
        int64_t next = (part / h + 1) * h < end ? (part / h + 1) * h : end;
        T *after = NAME(border)(&s->few, part, next, few, fs, pad, image);
        for (int64_t i = 0; i < next - part; i++) rows[part - r + i] = image + i * between;
        image = after;
        part = next;
      }
    }
    NAME(pack_panels)(count * w, n, wide + r * w * ws, ws, panels, sums);
    for (int32_t t = 0; t < s->taps; t++)
      for (int32_t k = 0; k < s->run; k += CK_MR) {
        int32_t tile = s->run - k < CK_MR ? s->run - k : CK_MR;
        T *to = dw + ((int64_t)t * s->run + k) * cs;
        for (int32_t n0 = 0; n0 < n; n0 += CK_NR) {
          int32_t vecs = NAME(padded_columns)(n) - n0 < CK_NR ? 1 : 2;
          int32_t columns = n - n0 < vecs * CK_V ? n - n0 : vecs * CK_V;
          NAME(outers)[vecs - 1][tile - 1](&m, t * between + k, panels + (int64_t)count * w * n0, to + n0, cs, columns);
        }
      }
  }
}

/* to[c·n + o] += from[o·CK_PART + c] for c < m and o < n; `to` is fetched two rows of 4×4 blocks ahead. */
static void NAME(add_transposed)(int32_t m, int32_t n, const T *from, T *to) {
  int32_t m4 = m & ~3, n4 = n & ~3;
  for (int32_t c = 0; c < m4; c += 4)
    for (int32_t o = 0; o < n4; o += 4) {
      NAME(quad) block[4];
      __builtin_prefetch(to + (c + 8) * n + 4 * o, 1);
      for (int i = 0; i < 4; i++) block[i] = *(const NAME(quad) *)(from + (o + i) * CK_PART + c);
      NAME(transpose)(block);
      for (int i = 0; i < 4; i++) *(NAME(quad) *)(to + (c + i) * n + o) += block[i];
    }
  for (int32_t c = 0; c < m; c++)
    for (int32_t o = c < m4 ? n4 : 0; o < n; o++) to[c * n + o] += from[o * CK_PART + c];
}

/* What a scatter adds for the pixels outside the image: edge[tap, out] += g over the pixels that see the outside at that
 * tap. */
static void NAME(add_edges)(const ck_conv *v, int64_t row0, int64_t row1, const T *g, int64_t gs, T *edge) {
  int32_t h = v->height, w = v->width, co = v->out_channels;
  for (int32_t t = 0; t < 9; t++)
    for (int32_t o = 0; o < co; o++) {
      T sum = edge[t * co + o];
      for (int64_t r = row0; r < row1; r++) {
        int32_t i = (int32_t)(r % h) + t / 3 - 1, dx = t % 3 - 1;
        int outside = i < 0 || i >= h;
        for (int32_t j = 0; j < w; j++)
          if (outside || j + dx < 0 || j + dx >= w) sum += g[(r * w + j) * gs + o];
      }
      edge[t * co + o] = sum;
    }
}

static void NAME(conv_wgrad)(const ck_conv *v, int32_t part0, int32_t part1, int64_t row0, int64_t row1, int32_t piece,
                             const T *x, int64_t xs, double outside, const T *g, int64_t gs, T *dw, T *dbias, T *carry,
                             T *workspace) {
  const T pad = (T)outside;
  NAME(sides) s = NAME(sides_of)(v);
  int32_t ci = v->in_channels, co = v->out_channels;
  for (int32_t part = part0; part < part1; part++) {
    int32_t n0 = part * CK_PART, n1 = n0 + CK_PART < s.wide ? n0 + CK_PART : s.wide;
    if (!NAME(scatters)(v)) {
      NAME(outer_products)(&s, row0, row1, x, xs, pad, g + n0, gs, n1 - n0, 1, dw + n0, co,
                           dbias ? dbias + n0 : NULL, workspace);
      continue;
    }
    if (row0 == row1) return;
    T *sums = carry ? carry + (size_t)part * NAME(part_sums)(v)
                    : workspace + NAME(conv_wgrad_workspace)(v) - NAME(part_sums)(v);
    T *edge = sums + (size_t)9 * (size_t)co * CK_PART;
    for (int32_t k = 0; piece & CK_FIRST && k < 9 * co; k++) edge[k] = 0;
    NAME(outer_products)(&s, row0, row1, g, gs, 0, x + n0, xs, n1 - n0, !(piece & CK_FIRST), sums, CK_PART, NULL,
                         workspace);
    if (pad != 0) NAME(add_edges)(v, row0, row1, g, gs, edge);
    for (int32_t t = 0; piece & CK_LAST && t < 9; t++) {
      T *to = dw + ((int64_t)t * ci + n0) * co;
      NAME(add_transposed)(n1 - n0, co, sums + (int64_t)(8 - t) * co * CK_PART, to);
      for (int32_t c = 0; pad != 0 && c < n1 - n0; c++)
        for (int32_t o = 0; o < co; o++) to[c * co + o] += pad * edge[t * co + o];
    }
    if (dbias && part == 0)
      for (int64_t p = row0 * v->width; p < row1 * v->width; p++)
        for (int32_t o = 0; o < co; o++) dbias[o] += g[p * gs + o];
  }
}
