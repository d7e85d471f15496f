/* Convolutions of one type. */

/* One shape: every epilogue, pixels further apart than their channels, the rows in two calls. */
static void NAME(convolution)(const char *variant, const NAME(ck_table) *const tables[2], ck_conv v, int64_t images,
                              T pad) {
  char what[128];
  int32_t ci = v.in_channels, co = v.out_channels, gap = 3;
  int64_t rows = images * v.height, pixels = rows * v.width, xs = ci + gap, ys = co + gap;
  size_t weights = (size_t)(v.kernel * v.kernel * ci * co);
  NAME(array) x = NAME(random)((size_t)(pixels * xs)), w = NAME(random)(weights), bias = NAME(random)((size_t)co);
  ck_conv back = v;
  back.in_channels = co;
  back.out_channels = ci;

  for (int32_t flags = CK_STORE; flags <= (CK_ADD | CK_RELU); flags++) {
    NAME(array) y = NAME(random)((size_t)(pixels * ys));
    size_t bytes = (size_t)pixels * CK_MASK_BYTES(co);
    uint8_t *mask[2] = {memory(bytes), memory(bytes)};
    for (int side = 0; side < 2; side++) {
      T *packed = memory(tables[side]->conv_packed_count(&v) * sizeof(T));
      T *workspace = memory(tables[side]->conv_workspace(&v) * sizeof(T));
      tables[side]->conv_pack(&v, w.of[side], packed);
      int64_t cut = rows / 3;
      for (int part = 0; part < 2; part++)
        tables[side]->conv_fwd(&v, part ? cut : 0, part ? rows : cut, x.of[side], xs, packed,
                               flags & CK_ADD ? NULL : bias.of[side], pad, flags, flags & CK_RELU ? mask[side] : NULL,
                               y.of[side], ys, workspace);
      free(packed);
      free(workspace);
    }
    snprintf(what, sizeof what, "%d×%d convolution %dx%d, %d to %d, flags %d", v.kernel, v.kernel, v.height, v.width, ci,
             co, flags);
    NAME(compare)(variant, what, y);
    /* A sum that is nearly zero may round to either side: bits are compared where the values are not near it. */
    int differ = 0;
    for (int64_t p = 0; p < pixels && flags & CK_RELU; p++)
      for (int32_t o = 0; o < co; o++) {
        double value = fmax((double)y.of[0][p * ys + o], (double)y.of[1][p * ys + o]);
        int a = mask[0][p * CK_MASK_BYTES(co) + o / 8] >> o % 8 & 1, b = mask[1][p * CK_MASK_BYTES(co) + o / 8] >> o % 8 & 1;
        differ += (a != b && value > 1e-3) || a != (y.of[0][p * ys + o] > 0) || b != (y.of[1][p * ys + o] > 0);
      }
    strcat(what, ", mask");
    judge(variant, what, differ, 0);
    NAME(release)(y);
    free(mask[0]);
    free(mask[1]);
  }

  NAME(array) g = NAME(random)((size_t)(pixels * ys)), xbar = NAME(random)((size_t)(pixels * xs));
  uint8_t *gate = memory((size_t)pixels * CK_MASK_BYTES(ci));
  for (int64_t i = 0; i < pixels * CK_MASK_BYTES(ci); i++) gate[i] = (uint8_t)(number() * 128 + 128);
  NAME(array) dw = NAME(random)(weights), dbias = NAME(random)((size_t)co);
  for (int side = 0; side < 2; side++) {
    const NAME(ck_table) *table = tables[side];
    T *packed = memory(table->conv_packed_count(&back) * sizeof(T));
    T *workspace = memory(table->conv_workspace(&back) * sizeof(T));
    table->conv_pack_adjoint(&v, w.of[side], packed);
    table->conv_fwd(&back, 0, rows, g.of[side], ys, packed, NULL, 0, CK_ADD | CK_GATE, gate, xbar.of[side], xs,
                    workspace);
    free(packed);
    free(workspace);
    workspace = memory(table->conv_wgrad_workspace(&v) * sizeof(T));
    int32_t parts = table->conv_wgrad_parts(&v), half = parts / 2;
    table->conv_wgrad(&v, half, parts, 0, rows, CK_FIRST | CK_LAST, x.of[side], xs, pad, g.of[side], ys, dw.of[side],
                      dbias.of[side], NULL, workspace);
    table->conv_wgrad(&v, 0, half, 0, rows, CK_FIRST | CK_LAST, x.of[side], xs, pad, g.of[side], ys, dw.of[side],
                      dbias.of[side], NULL, workspace);
    free(workspace);
  }
  snprintf(what, sizeof what, "adjoint of a %d×%d convolution %dx%d, %d to %d", v.kernel, v.kernel, v.height, v.width, ci,
           co);
  NAME(compare)(variant, what, xbar);
  snprintf(what, sizeof what, "gradient of a %d×%d convolution %dx%d, %d to %d", v.kernel, v.kernel, v.height, v.width, ci,
           co);
  NAME(compare)(variant, what, dw);
  NAME(compare)(variant, what, dbias);
  free(gate);
  NAME(release)(x);
  NAME(release)(w);
  NAME(release)(bias);
  NAME(release)(g);
  NAME(release)(xbar);
  NAME(release)(dw);
  NAME(release)(dbias);
}

/* Channels about the widths of vectors and panels, sides about those of tiles. */
static void NAME(convolutions)(const char *variant, const NAME(ck_table) *const tables[2]) {
  static const int32_t sides[][2] = {{1, 1}, {1, 7}, {2, 3}, {5, 4}, {8, 9}, {11, 13}};
  static const int32_t channels[][2] = {{1, 1},  {1, 5},  {2, 16}, {3, 33}, {4, 64}, {6, 17}, {12, 40},
                                        {16, 2}, {33, 3}, {64, 4}, {17, 6}, {40, 12}, {31, 31}, {24, 48}};
  for (size_t s = 0; s < sizeof sides / sizeof sides[0]; s++)
    for (size_t c = 0; c < sizeof channels / sizeof channels[0]; c++)
      for (int32_t kernel = 1; kernel <= 3; kernel += 2) {
        ck_conv v = {sides[s][0], sides[s][1], channels[c][0], channels[c][1], kernel};
        NAME(convolution)(variant, tables, v, s < 3 ? 3 : 2, (T)(c % 2 ? 0.5 : 0));
      }
}
