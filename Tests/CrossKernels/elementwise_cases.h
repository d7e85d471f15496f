/* Everything but convolutions, for one type. */

#define BOTH for (int side = 0; side < 2; side++)

static void NAME(actnorms)(const char *variant, const NAME(ck_table) *const tables[2], int64_t pixels, int32_t c) {
  char what[96];
  for (int32_t direction = CK_FORWARD; direction <= CK_INVERSE; direction++) {
    NAME(array) x = NAME(random)((size_t)(pixels * c)), g = NAME(random)((size_t)(pixels * c));
    NAME(array) b = NAME(random)((size_t)c), s = NAME(random)((size_t)c);
    double *db[2], *ds[2];
    BOTH {
      db[side] = memory((size_t)c * sizeof(double));
      ds[side] = memory((size_t)c * sizeof(double));
      tables[side]->actnorm(direction, pixels, c, b.of[side], s.of[side], x.of[side]);
    }
    snprintf(what, sizeof what, "actnorm %d of %d pixels, %d channels", direction, (int)pixels, c);
    NAME(compare)(variant, what, x);
    BOTH tables[side]->actnorm_vjp(direction, pixels, c, b.of[side], s.of[side], x.of[side], g.of[side], db[side], ds[side]);
    strcat(what, ", back");
    NAME(compare)(variant, what, x);
    NAME(compare)(variant, what, g);
    NAME(compare_doubles)(variant, what, (size_t)c, db);
    NAME(compare_doubles)(variant, what, (size_t)c, ds);
    NAME(release)(x);
    NAME(release)(g);
    NAME(release)(b);
    NAME(release)(s);
    BOTH {
      free(db[side]);
      free(ds[side]);
    }
  }
}

static void NAME(couplings)(const char *variant, const NAME(ck_table) *const tables[2], int32_t kind, int32_t parity,
                            int32_t height, int32_t width, int32_t ct) {
  char what[128];
  const ck_affine_form affine = {.kind = kind};
  int64_t images = 2, rows = images * height, pixels = rows * width, xs = ct + 3;
  for (int32_t direction = CK_FORWARD; direction <= CK_INVERSE; direction++) {
    NAME(array) h = NAME(random)((size_t)(pixels * 2 * ct)), x = NAME(random)((size_t)(pixels * xs));
    NAME(array) g = NAME(random)((size_t)(pixels * xs)), hbar = NAME(random)((size_t)(pixels * 2 * ct));
    NAME(array) slopes = NAME(random)((size_t)(3 * pixels * ct));
    /* values far from zero, too */
    for (size_t i = 0; i < h.count; i++) BOTH h.of[side][i] *= (T)(i % 7 ? 2 : 30);
    double *logdet[2], lbar[2] = {0.75, -1.5};
    BOTH {
      logdet[side] = memory((size_t)rows * sizeof(double));
      tables[side]->affine(&affine, direction, parity, height, width, ct, 0, rows, h.of[side], x.of[side], xs, logdet[side],
                           direction, slopes.of[side]);
    }
    snprintf(what, sizeof what, "coupling of kind %d, direction %d, parity %d, %dx%dx%d", kind, direction, parity, height,
             width, ct);
    NAME(compare)(variant, what, x);
    NAME(compare)(variant, what, slopes);
    NAME(compare_doubles)(variant, what, (size_t)rows, logdet);
    BOTH tables[side]->affine_vjp(&affine, direction, parity, height, width, ct, 0, rows, slopes.of[side], lbar, g.of[side],
                                  xs, hbar.of[side]);
    strcat(what, ", back");
    NAME(compare)(variant, what, g);
    NAME(compare)(variant, what, hbar);
    BOTH free(logdet[side]);
    NAME(release)(h);
    NAME(release)(x);
    NAME(release)(g);
    NAME(release)(hbar);
    NAME(release)(slopes);
  }
}

static void NAME(maps)(const char *variant, const NAME(ck_table) *const tables[2], int64_t n) {
  char what[96];
  snprintf(what, sizeof what, "maps of %d values", (int)n);
  NAME(array) x = NAME(random)((size_t)n), g = NAME(random)((size_t)n), y = NAME(random)((size_t)n);
  double sums[4][2] = {{0}};
  double *const results[4][2] = {{&sums[0][0], &sums[0][1]}, {&sums[1][0], &sums[1][1]}, {&sums[2][0], &sums[2][1]},
                                 {&sums[3][0], &sums[3][1]}};
  BOTH {
    const NAME(ck_table) *t = tables[side];
    sums[0][side] = t->dot(n, x.of[side], g.of[side]);
    t->axpby(n, 1, x.of[side], 1, g.of[side]);
    t->silu(n, g.of[side], y.of[side], g.of[side]);
    t->multiply_by(n, x.of[side], g.of[side]);
    t->logistic_fwd(n, x.of[side], &sums[1][side]);
    t->logistic_fwd_vjp(n, 0.5, x.of[side], g.of[side]);
    t->logistic_fwd(n, x.of[side], &sums[2][side]);
    t->logistic_inv(n, x.of[side], &sums[3][side]);
    t->logistic_inv_vjp(n, -0.5, x.of[side], g.of[side]);
  }
  NAME(compare)(variant, what, x);
  NAME(compare)(variant, what, y);
  NAME(compare)(variant, what, g);
  for (int i = 0; i < 4; i++) NAME(compare_doubles)(variant, what, 1, results[i]);
  NAME(release)(x);
  NAME(release)(g);
  NAME(release)(y);
}

static void NAME(moves)(const char *variant, const NAME(ck_table) *const tables[2], int32_t h, int32_t w, int32_t c) {
  char what[96];
  snprintf(what, sizeof what, "moves of %dx%dx%d", h, w, c);
  int64_t pixels = 2 * (int64_t)h * w;
  NAME(array) x = NAME(random)((size_t)(pixels * c)), y = NAME(random)((size_t)(pixels * c));
  NAME(array) z = NAME(random)((size_t)(pixels * (c + 2)));
  BOTH {
    const NAME(ck_table) *t = tables[side];
    t->squeeze(h, w, c, 0, h, x.of[side], y.of[side]);
    t->checkerboard(1, 1, h, w, c, 0, 2 * h, y.of[side], x.of[side]);
    t->copy_channels(pixels, c, x.of[side], c, z.of[side], c + 2);
    t->sum_pixels(pixels, c, x.of[side], c, z.of[side]);
    t->unsqueeze(h, w, c, 0, h, x.of[side], y.of[side]);
    t->checkerboard(0, 0, h, w, c, 0, 2 * h, y.of[side], x.of[side]);
  }
  NAME(compare)(variant, what, x);
  NAME(compare)(variant, what, y);
  NAME(compare)(variant, what, z);
  NAME(release)(x);
  NAME(release)(y);
  NAME(release)(z);
}

static void NAME(elementwise)(const char *variant, const NAME(ck_table) *const tables[2]) {
  static const int32_t channels[] = {1, 2, 3, 6, 7, 12, 24, 31, 300};
  static const int64_t counts[] = {1, 3, 4, 7, 8, 31, 1000};
  for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++) {
    NAME(actnorms)(variant, tables, 5, channels[i]);
    NAME(actnorms)(variant, tables, 64, channels[i]);
    NAME(moves)(variant, tables, 4, 6, channels[i]);
    for (int32_t kind = CK_SIGMOID; kind <= CK_EXP; kind++)
      for (int32_t parity = -1; parity <= 1; parity++)
        NAME(couplings)(variant, tables, kind, parity, 3, 5, channels[i]);
  }
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) NAME(maps)(variant, tables, counts[i]);
}
#undef BOTH
