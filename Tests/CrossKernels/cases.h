/* The comparisons of one type: included with T, SUFFIX and ROUNDING defined. */

/* The same numbers twice, for the reference and for a variant; a few more than asked for, which no kernel may touch. */
typedef struct NAME(array) {
  size_t count;
  T *of[2];
} NAME(array);

enum { NAME(beyond) = 16 };

static NAME(array) NAME(random)(size_t count) {
  NAME(array) result = {count + NAME(beyond), {NULL, NULL}};
  for (int side = 0; side < 2; side++) result.of[side] = memory(result.count * sizeof(T));
  for (size_t i = 0; i < result.count; i++) result.of[0][i] = result.of[1][i] = (T)number();
  return result;
}

static void NAME(compare)(const char *variant, const char *what, NAME(array) array) {
  double difference = 0, size = 1;
  for (size_t i = 0; i < array.count; i++) {
    double a = (double)array.of[0][i], b = (double)array.of[1][i];
    if (!isfinite(a) || !isfinite(b)) difference = INFINITY;
    difference = fmax(difference, fabs(a - b));
    size = fmax(size, fabs(a));
  }
  judge(variant, what, difference / size / ROUNDING, 256);
}

static void NAME(compare_doubles)(const char *variant, const char *what, size_t count, double *const of[2]) {
  double difference = 0, size = 1;
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(of[0][i]) || !isfinite(of[1][i])) difference = INFINITY;
    difference = fmax(difference, fabs(of[0][i] - of[1][i]));
    size = fmax(size, fabs(of[0][i]));
  }
  judge(variant, what, difference / size / ROUNDING, 256);
}

static void NAME(release)(NAME(array) array) {
  free(array.of[0]);
  free(array.of[1]);
}

#include "convolution_cases.h"
#include "elementwise_cases.h"

static void NAME(run)(const char *variant, const NAME(ck_table) *reference, const NAME(ck_table) *other) {
  const NAME(ck_table) *const tables[2] = {reference, other};
  NAME(convolutions)(variant, tables);
  NAME(elementwise)(variant, tables);
}
