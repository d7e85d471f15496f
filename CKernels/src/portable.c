/* 16-byte vectors and at least 16 registers: what every x86-64 and aarch64 has. */
#define CK_VARIANT portable
#define CK_CONV "conv_packed.h"
#define CK_VBYTES 16
#include "variant_template.h"

static int always(void) { return 1; }
const ck_variant_t ck_variant_portable = {"portable", always, &portable_table_f32, &portable_table_f64};
