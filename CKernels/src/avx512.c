/* 64-byte vectors in 32 registers, for x86-64 processors with AVX-512. Every sum takes the same multiply-adds in the same
 * order as with AVX2, so the bits are the same. Sixteen sums, of 8 pixels × 2 vectors: more than need be, for fewer loads. */
#if defined(__x86_64__)
/* System headers first: their functions must not be compiled for AVX-512. */
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#define CK_VARIANT avx512
#define CK_CONV "conv_packed.h"
#define CK_VBYTES 64
#define CK_MR 8
#include "variant_template.h"
#pragma clang attribute pop

static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}
const ck_variant_t ck_variant_avx512 = {"avx512", has_avx512, &avx512_table_f32, &avx512_table_f64};
#endif
