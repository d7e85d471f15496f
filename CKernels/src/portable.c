/* 16-byte vectors: SSE2 on x86-64, NEON on aarch64; what every processor of the kind has. */
#define CK_VARIANT portable
#define CK_CONV "conv_packed.h"
#define CK_VBYTES 16
#include "variant_template.h"

static int always(void) { return 1; }
const ck_variant_t ck_variant_portable = {"portable", always, &portable_table_f32, &portable_table_f64};
