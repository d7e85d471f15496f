#include "ckernels.h"
#include <cblas.h>
#include <lapacke.h>
int ck_version(void) { return openblas_get_num_threads() > 0; }
