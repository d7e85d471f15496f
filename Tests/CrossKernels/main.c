/* Compares the kernels' variants of this processor with the reference over odd shapes. Links the kernels alone, no
 * BLAS and no Swift, so that it can be cross-compiled and run under an emulator: see scripts/test-neon. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "variant.h"

static int passed, failed;

/* Between −1 and 1, by a linear congruential generator (Knuth's MMIX constants). */
static double number(void) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(int64_t)state * 0x1p-63;
}

static void *memory(size_t bytes) {
  void *result = calloc(bytes + 64, 1);
  if (!result) {
    fprintf(stderr, "out of memory\n");
    exit(1);
  }
  return result;
}

/* A residual relative to the largest number, in units of the type's rounding. */
static void judge(const char *variant, const char *what, double residual, double limit) {
  if (residual <= limit) {
    passed++;
    return;
  }
  failed++;
  printf("%s: %s differs from the reference by %.3g roundings, expected at most %g\n", variant, what, residual, limit);
}

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(x) PASTE(x, SUFFIX)

#define T float
#define SUFFIX f32
#define ROUNDING 0x1p-23
#include "cases.h"
#undef T
#undef SUFFIX
#undef ROUNDING

#define T double
#define SUFFIX f64
#define ROUNDING 0x1p-52
#include "cases.h"
#undef T
#undef SUFFIX
#undef ROUNDING

int main(void) {
  const ck_variant_t *const variants[] = {
#if defined(__x86_64__)
      &ck_variant_avx512,
      &ck_variant_avx2,
#elif defined(__aarch64__)
      &ck_variant_neon,
#endif
      &ck_variant_portable,
  };
  for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
    if (!variants[i]->runs_here()) continue;
    int before = passed + failed;
    run_f32(variants[i]->name, ck_variant_reference.f32, variants[i]->f32);
    run_f64(variants[i]->name, ck_variant_reference.f64, variants[i]->f64);
    printf("%s: %d comparisons\n", variants[i]->name, passed + failed - before);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
