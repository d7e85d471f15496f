/* 32-byte vectors with fused multiply-add, for x86-64 processors that have both. */
#if defined(__x86_64__)
/* System headers first: their functions must not be compiled for AVX2. */
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define CK_VARIANT avx2
#define CK_CONV "conv_packed.h"
#define CK_VBYTES 32
#include "variant_template.h"
#pragma clang attribute pop

static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
const ck_variant_t ck_variant_avx2 = {"avx2", has_avx2, &avx2_table_f32, &avx2_table_f64};
#endif
