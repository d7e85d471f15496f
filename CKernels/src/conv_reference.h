/* Convolutions written to be read: the definition, loop by loop. Included once a type. Packed weights are the
 * weights themselves; the adjoint's are flipped in space and transposed in channels. */

static size_t NAME(conv_packed_count)(const ck_conv *v) {
  return (size_t)v->kernel * (size_t)v->kernel * (size_t)v->in_channels * (size_t)v->out_channels;
}

static void NAME(conv_pack)(const ck_conv *v, const T *w, T *packed) {
  memcpy(packed, w, NAME(conv_packed_count)(v) * sizeof(T));
}

static void NAME(conv_pack_adjoint)(const ck_conv *v, const T *w, T *packed) {
  int32_t taps = v->kernel * v->kernel, ci = v->in_channels, co = v->out_channels;
  for (int32_t t = 0; t < taps; t++)
    for (int32_t i = 0; i < ci; i++)
      for (int32_t o = 0; o < co; o++) packed[((taps - 1 - t) * co + o) * ci + i] = w[(t * ci + i) * co + o];
}

static size_t NAME(conv_workspace)(const ck_conv *v) { (void)v; return 0; }
/* The parts are the input channels; the first adds the bias too. */
static int32_t NAME(conv_wgrad_parts)(const ck_conv *v) { return v->in_channels; }
static int32_t NAME(conv_wgrad_block)(const ck_conv *v) { (void)v; return 1; }
static size_t NAME(conv_wgrad_carry)(const ck_conv *v) { (void)v; return 0; }
static size_t NAME(conv_wgrad_workspace)(const ck_conv *v) { (void)v; return 0; }

static void NAME(conv_fwd)(const ck_conv *v, int64_t row0, int64_t row1, const T *x, int64_t xs, const T *packed,
                           const T *bias, double outside, int32_t flags, uint8_t *mask, T *y, int64_t ys, T *workspace) {
  const T pad = (T)outside;
  (void)workspace;
  int32_t h = v->height, w = v->width, ci = v->in_channels, co = v->out_channels, k = v->kernel, half = k / 2;
  for (int64_t r = row0; r < row1; r++)
    for (int32_t j = 0; j < w; j++)
      for (int32_t o = 0; o < co; o++) {
        T sum = bias ? bias[o] : 0;
        for (int32_t dy = 0; dy < k; dy++)
          for (int32_t dx = 0; dx < k; dx++) {
            int32_t i2 = (int32_t)(r % h) + dy - half, j2 = j + dx - half;
            int inside = i2 >= 0 && i2 < h && j2 >= 0 && j2 < w;
            for (int32_t c = 0; c < ci; c++) {
              T value = inside ? x[((r + dy - half) * w + j2) * xs + c] : pad;
              sum += value * packed[((dy * k + dx) * ci + c) * co + o];
            }
          }
        int64_t p = r * w + j;
        if (flags & CK_ADD) sum += y[p * ys + o];
        if (flags & CK_RELU) sum = sum > 0 ? sum : 0;
        if (mask) {
          uint8_t *byte = mask + p * CK_MASK_BYTES(co) + o / 8;
          int bit = 1 << o % 8;
          if (flags & CK_RELU) *byte = (uint8_t)((o % 8 ? *byte : 0) | (sum > 0 ? bit : 0));
          if (flags & CK_GATE) sum = *byte & bit ? sum : 0;
        }
        y[p * ys + o] = sum;
      }
}

static void NAME(conv_wgrad)(const ck_conv *v, int32_t part0, int32_t part1, int64_t row0, int64_t row1, int32_t piece,
                             const T *x, int64_t xs, double outside, const T *g, int64_t gs, T *dw, T *dbias, T *carry,
                             T *workspace) {
  const T pad = (T)outside;
  (void)piece, (void)carry, (void)workspace;
  int32_t h = v->height, w = v->width, ci = v->in_channels, co = v->out_channels, k = v->kernel, half = k / 2;
  for (int64_t r = row0; r < row1; r++)
    for (int32_t j = 0; j < w; j++) {
      const T *gp = g + (r * w + j) * gs;
      for (int32_t dy = 0; dy < k; dy++)
        for (int32_t dx = 0; dx < k; dx++) {
          int32_t i2 = (int32_t)(r % h) + dy - half, j2 = j + dx - half;
          int inside = i2 >= 0 && i2 < h && j2 >= 0 && j2 < w;
          for (int32_t c = part0; c < part1; c++) {
            T value = inside ? x[((r + dy - half) * w + j2) * xs + c] : pad;
            for (int32_t o = 0; o < co; o++) dw[((dy * k + dx) * ci + c) * co + o] += value * gp[o];
          }
        }
      if (dbias && part0 == 0 && part1 > 0)
        for (int32_t o = 0; o < co; o++) dbias[o] += gp[o];
    }
}
