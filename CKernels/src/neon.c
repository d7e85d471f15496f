/* NEON on aarch64: 16-byte vectors in 32 registers. Sixteen sums, of 8 pixels × 2 vectors, keep four multiply-add units
 * of latency 4 busy, which is what the larger cores have; the portable variant's twelve would not. */
#if defined(__aarch64__)
#define CK_VARIANT neon
#define CK_CONV "conv_packed.h"
#define CK_VBYTES 16
#define CK_MR 8
#include "variant_template.h"

static int always(void) { return 1; }
const ck_variant_t ck_variant_neon = {"neon", always, &neon_table_f32, &neon_table_f64};
#endif
