/* One variant for both types: included with CK_VARIANT (its name) and CK_CONV (the file with its convolutions)
 * defined, and for the packed convolutions CK_VBYTES (bytes of a vector register) and perhaps CK_MR. */
#include <math.h>
#include <string.h>

#include "variant.h"

/* Without errno, so that a loop with square roots becomes vectors. */
float sqrtf(float) __attribute__((const));
double sqrt(double) __attribute__((const));

#define CK_MAX_STACK 256 /* elements of the small buffers on the stack */
#define CK_PASTE2(a, b, c) a##_##b##_##c
#define CK_PASTE(a, b, c) CK_PASTE2(a, b, c)
#define CK_ENTRY(R, name, parameters, arguments) .name = NAME(name),

#define T float
#define CK_LANE int32_t
#define CK_F32 1
#define CK_SQRT sqrtf
#define NAME(x) CK_PASTE(CK_VARIANT, x, f32)
#include CK_CONV
#include "elementwise.h"
#include "spline.h"
static const ck_table_f32 CK_PASTE(CK_VARIANT, table, f32) = {CK_KERNELS(CK_ENTRY, float)};
#undef T
#undef CK_LANE
#undef CK_F32
#undef CK_SQRT
#undef NAME

#define T double
#define CK_LANE int64_t
#define CK_F32 0
#define CK_SQRT sqrt
#define NAME(x) CK_PASTE(CK_VARIANT, x, f64)
#include CK_CONV
#include "elementwise.h"
#include "spline.h"
static const ck_table_f64 CK_PASTE(CK_VARIANT, table, f64) = {CK_KERNELS(CK_ENTRY, double)};
#undef T
#undef CK_LANE
#undef CK_F32
#undef CK_SQRT
#undef NAME
