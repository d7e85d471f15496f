/* LU of small matrices. LAPACKE's `_work` forms with column-major layout don't allocate; a row-major matrix
 * read as column-major is its transpose, whose inverse is the transpose of the inverse: no copy is needed. */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "ckernels.h"

ck_status ck_invert(int32_t c, const double *w, double *inverse, double *log_abs_det, int32_t *pivots,
                    double *work) {
  for (int32_t i = 0; i < c * c; i++)
    if (!isfinite(w[i])) return CK_NOT_FINITE;
  memcpy(inverse, w, (size_t)c * (size_t)c * sizeof *w);
  if (LAPACKE_dgetrf_work(LAPACK_COL_MAJOR, c, c, inverse, c, pivots) != 0) return CK_SINGULAR;
  double sum = 0;
  for (int32_t i = 0; i < c; i++) sum += log(fabs(inverse[i * c + i]));
  if (LAPACKE_dgetri_work(LAPACK_COL_MAJOR, c, inverse, c, pivots, work, c * c) != 0) return CK_SINGULAR;
  for (int32_t i = 0; i < c * c; i++)
    if (!isfinite(inverse[i])) return CK_SINGULAR;
  if (!isfinite(sum)) return CK_SINGULAR;
  *log_abs_det = sum;
  return CK_OK;
}
