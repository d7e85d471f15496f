/* The reference: convolutions loop by loop, for every processor. */
#define CK_VARIANT reference
#define CK_CONV "conv_reference.h"
#include "variant_template.h"

static int always(void) { return 1; }
const ck_variant_t ck_variant_reference = {"reference", always, &reference_table_f32, &reference_table_f64};
